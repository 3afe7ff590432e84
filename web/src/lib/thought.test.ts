import { expect, test } from 'vitest'
import { ThoughtSplitter, lastLine } from './thought'

function check(pieces: string[], thought: string, solution: string) {
  const splitter = new ThoughtSplitter()
  for (const piece of pieces) splitter.push(piece)
  splitter.end()
  expect({ thought: splitter.thought, solution: splitter.solution }).toEqual({ thought, solution })
}

const WHOLE =
  '<|begin_of_thought|>\n\n2 < 3, so\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n\\boxed{5}\n\n<|end_of_solution|>'

test('a whole answer is parted', () => check([WHOLE], '2 < 3, so', '\\boxed{5}'))
test('an answer cut anywhere is parted the same', () => {
  for (let size = 1; size < WHOLE.length; size++) {
    check(WHOLE.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [], '2 < 3, so', '\\boxed{5}')
  }
})
test('an answer without tags is solution', () => check(['4', '2'], '', '42'))
test('a thought that never ends is thought', () => check(['<|begin_of_thought|>hm'], 'hm', ''))
test('half a tag at the end is text', () => check(['a <|begin'], '', 'a <|begin'))
test('the tags of other models count too', () => check(['<think>hm</think>4'], 'hm', '4'))

test('the last line with words in it is shown', () => {
  expect(lastLine('one\ntwo\n\n  ')).toBe('two')
  expect(lastLine('')).toBe('')
})
