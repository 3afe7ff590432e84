import { expect, test } from 'vitest'
import { align, describe as sentence, smooth } from './curve'

test('a constant stays what it is from the first value', () => {
  expect(smooth([2, 2, 2], 0.9).map((v) => v?.toFixed(6))).toEqual([
    '2.000000',
    '2.000000',
    '2.000000',
  ])
})
test('weight 0 changes nothing', () => expect(smooth([3, 1, 2], 0)).toEqual([3, 1, 2]))
test('what is not finite leaves a gap and spoils nothing', () => {
  const smoothed = smooth([1, NaN, null, 1], 0.9)
  expect(smoothed[1]).toBeNull()
  expect(smoothed[2]).toBeNull()
  expect(smoothed[3]).toBeCloseTo(1)
})
test('an empty curve stays empty', () => expect(smooth([], 0.5)).toEqual([]))

test('lines with steps of their own share one axis', () => {
  const a = {
    name: 'a',
    steps: [
      { step: 0, value: 3 },
      { step: 2, value: 1 },
    ],
  }
  const b = {
    name: 'b',
    steps: [
      { step: 1, value: 2 },
      { step: 2, value: null },
    ],
  }
  expect(align([a, b])).toEqual({
    x: [0, 1, 2],
    ys: [
      [3, null, 1],
      [null, 2, null],
    ],
  })
})

test('a chart is told in a sentence', () => {
  const steps = [
    { step: 0, value: 3 },
    { step: 1, value: 1.25 },
  ]
  expect(sentence([{ name: 'verified', steps }])).toBe(
    'verified: loss fell from 3.00 to 1.25 over 2 steps.',
  )
  expect(sentence([])).toBe('No training step yet.')
})
