import { expect, test } from 'vitest'
import {
  actionOf,
  foundWords,
  megabytes,
  outcomeWords,
  share,
  verdictWords,
  visible,
} from './verdicts'

test('verdicts and outcomes have words, also those that are new', () => {
  for (const [given, words] of [
    ['correct', 'Correct'],
    ['unreadable', 'Unreadable'],
    ['', 'Not judged'],
    [null, 'Not judged'],
    ['doubtful', 'doubtful'],
  ] as const) {
    expect(verdictWords(given)).toBe(words)
  }
  expect(outcomeWords('wrong_answer')).toBe('Wrong answer')
})

test('every key of the queue does one thing, others nothing', () => {
  const keys = ['a', 'r', 's', 'u', 'j', 'ArrowDown', 'k', 'ArrowUp', 'x', 'Enter']
  const does = ['accept', 'reject', 'skip', 'reopen', 'next', 'next', 'previous', 'previous']
  expect(keys.map(actionOf)).toEqual([...does, undefined, undefined])
})

test('sizes and parts carry their unit', () => {
  expect([megabytes(12_340_000), megabytes(980_000)]).toEqual(['12.3 MB', '980 kB'])
  expect([share(0.6371), share(0), share(null)]).toEqual(['63.7 %', '0.0 %', '–'])
})

test('blanks that differ can be seen', () => {
  expect(visible('1 2\n\t')).toBe('1·2↵\n→')
})

test('an answer that was not boxed says where it was found', () => {
  expect(['box', null, 'bold', 'new'].map(foundWords)).toEqual([
    '',
    '',
    ' (the last bold text, without a box)',
    ' (new)',
  ])
})
