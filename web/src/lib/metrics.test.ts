import { expect, test } from 'vitest'
import type { Step } from './api'
import { differences, left, present, short } from './metrics'

const step = (step: number, seconds = 2, mfu: number | null = null): Step => ({
  step,
  epoch: 0,
  loss: 1,
  grad_norm: 1,
  learning_rate: 1e-5,
  tokens: 10,
  trained_tokens: 5,
  tokens_per_second: 5,
  mfu,
  seconds,
  peak_memory_bytes: 2 ** 30,
})

test('what no step says is no curve', () => {
  const keys = (steps: Step[]) => present(steps).map((metric) => metric.key)
  expect(keys([step(0)])).not.toContain('mfu')
  expect(keys([step(0), step(1, 2, 0.4)])).toContain('mfu')
  expect(keys([])).toEqual([])
})

test('the time left is what the last steps took, not the first', () => {
  expect(left([], 10)).toBeNull()
  expect(left([step(0), step(1)], 10)).toBe(16)
  const steps = [step(0, 1000), ...Array.from({ length: 50 }, (_, i) => step(i + 1, 2))]
  expect(left(steps, 61)).toBe(20)
  expect(left([step(9)], 10)).toBe(0)
})

test('numbers of any size are short', () => {
  expect([0.00001, 0.00123456, 1.23456, 123.456, 0, 3e9].map(short)).toEqual([
    '1.00e-5',
    '0.001235',
    '1.235',
    '123.5',
    '0',
    '3.00e+9',
  ])
})

test('only what differs between configurations is told', () => {
  expect(
    differences([
      { a: 1, b: 'x' },
      { a: 1, b: 'y', c: [2] },
    ]),
  ).toEqual([
    { name: 'b', values: ['x', 'y'] },
    { name: 'c', values: ['not set', '[2]'] },
  ])
  expect(differences([{ a: [1] }, { a: [1] }])).toEqual([])
})
