import { expect, test } from 'vitest'
import { bytes, compact, duration, percent, secondsBetween } from './format'

test('durations carry their unit', () => {
  expect([0.42, 9.96, 38.4, 252, 7500, NaN].map(duration)).toEqual([
    '0.4 s',
    '10.0 s',
    '38 s',
    '4 min 12 s',
    '2 h 05 min',
    '–',
  ])
})
test('counts are short enough for a card', () => {
  expect([0, 9999, 12_345, 173_000, 2_345_678].map(compact)).toEqual([
    '0',
    '9,999',
    '12.3k',
    '173k',
    '2.35M',
  ])
})
test('progress stays between 0 and 100', () => {
  expect([percent(1, 4), percent(5, 4), percent(1, 0)]).toEqual([25, 100, 0])
})
test('a job that never started has no duration', () => expect(secondsBetween(null)).toBeNaN())
test('bytes are told in the unit that fits', () => {
  expect([0, 1023, 1536, 3.4 * 2 ** 20, 300 * 2 ** 20, 15.2 * 2 ** 30].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1.5 KiB',
    '3.4 MiB',
    '300 MiB',
    '15.2 GiB',
  ])
})
