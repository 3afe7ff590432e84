import { expect, test } from 'vitest'
import { Speeds } from './speed'

test('the speed is what was added since the last look', () => {
  const speeds = new Speeds()
  expect(speeds.look('a', 100, 0)).toBeUndefined()
  expect(speeds.look('a', 160, 2000)).toBe(30)
  expect(speeds.look('b', 7, 2000)).toBeUndefined()
  expect(speeds.look('a', 160, 3000)).toBe(0)
})

test('looks too close together keep the last speed, and a fallen counter begins anew', () => {
  const speeds = new Speeds()
  speeds.look('a', 0, 0)
  expect(speeds.look('a', 50, 1000)).toBe(50)
  expect(speeds.look('a', 60, 1010)).toBe(50)
  expect(speeds.look('a', 70, 2000)).toBe(20)
  expect(speeds.look('a', 5, 3000)).toBe(0)
  expect(speeds.look('a', 15, 4000)).toBe(10)
})
