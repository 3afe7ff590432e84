import { expect, test } from 'vitest'
import { command, isQuick } from './quick'

test('the command line starts the same jobs', () => {
  expect(command('whole')).toBe('thinkery run rehearsal')
  expect(command('quick')).toMatch(/^thinkery run rehearsal( --set [a-z_.]+=\d+)+$/)
})

test('a quick look is known by the configuration it ran with', () => {
  expect([isQuick({ steps: 40 }), isQuick({ steps: 900 }), isQuick(null)]).toEqual([
    true,
    false,
    false,
  ])
})
