import { expect, test } from 'vitest'
import { command, fit, gibibytes, large, parse, shown } from './plan'

test('what is typed gets the kind of the value before', () => {
  const rows: [string, unknown, unknown][] = [
    ['1e-4', 1e-5, 1e-4],
    ['96', 32, 96],
    ['many', 32, 'many'],
    ['', 32, ''],
    ['true', false, true],
    ['false', true, false],
    ['7', 'inputs', '7'],
    ['q_proj, v_proj', ['q_proj'], ['q_proj', 'v_proj']],
    [' all ', 'inputs', 'all'],
  ]
  for (const [text, like, value] of rows) expect(parse(text, like), text).toEqual(value)
  for (const value of [1e-5, 96, true, 'inputs', ['a', 'b']])
    expect(parse(shown(value), value)).toEqual(value)
})

test('the command line says what the form says', () => {
  const set = { 'train.steps': 5, 'train.model': 'my model', 'train.state': "A'" }
  expect(command('run', 'rehearsal', set)).toBe(
    "thinkery run rehearsal --set train.steps=5 --set 'train.model=my model' --set 'train.state=A'\\'''",
  )
  expect(command('run', 'rehearsal', { 'train.lora_targets': ['a', 'b'] })).toBe(
    `thinkery run rehearsal --set 'train.lora_targets=["a","b"]'`,
  )
  expect(command('plan', 'openthinker_7b', {}, { gpus: 8, gib: 80 })).toBe(
    'thinkery plan openthinker_7b --devices 8 --device-memory 80GiB',
  )
  expect(command('run', 'openthinker_7b', {}, { gpus: 8 })).toBe('thinkery run openthinker_7b')
})

test('what nearly fills a GPU is tight', () => {
  expect(fit(90, 100)).toBe('fits')
  expect(fit(96, 100)).toBe('tight')
  expect(fit(101, 100)).toBe('does not fit')
  expect(fit(null, 100)).toBe('unknown')
  expect(fit(1, undefined)).toBe('unknown')
  expect(gibibytes(75.04 * 2 ** 30)).toBe('75.0')
  expect(large(7_615_616_512)).toBe('7.6B')
})
