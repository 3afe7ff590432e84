import { expect, test } from 'vitest'
import { pieces } from './tokens'

test('tokens are put together by whether they are trained on', () => {
  const example = {
    ids: [5, 6, 7, 8],
    texts: ['Hi', '\n', 'yes', '!'],
    trained: [false, false, true, true],
  }
  expect(pieces(example)).toEqual([
    {
      trained: false,
      tokens: [
        { id: 5, text: 'Hi' },
        { id: 6, text: '↵\n' },
      ],
    },
    {
      trained: true,
      tokens: [
        { id: 7, text: 'yes' },
        { id: 8, text: '!' },
      ],
    },
  ])
  expect(pieces(example, 1)).toEqual([{ trained: false, tokens: [{ id: 5, text: 'Hi' }] }])
  expect(pieces({ ids: [], texts: [], trained: [] })).toEqual([])
})
