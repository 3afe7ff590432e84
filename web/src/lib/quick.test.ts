import { expect, test } from 'vitest'
import { command } from './quick'

test('the command line starts the same jobs', () => {
  expect(command('whole')).toBe('thinkery run rehearsal')
  expect(command('quick')).toMatch(/^thinkery run rehearsal( --set [a-z_.]+=\d+)+$/)
})
