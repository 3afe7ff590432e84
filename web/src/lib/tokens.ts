/** How tokens are shown: in pieces that are all trained on or all not, with line ends to be seen. */

import type { TrainExample } from './api'

export interface Token {
  id: number
  text: string
}

export interface Piece {
  trained: boolean
  tokens: Token[]
}

/** A line end as a sign and a line end: a token that is only that is still to be seen. */
const visible = (text: string) => text.replaceAll('\n', '↵\n')

/** The first `limit` tokens of an example in pieces. */
export function pieces(
  example: Pick<TrainExample, 'ids' | 'texts' | 'trained'>,
  limit = Infinity,
): Piece[] {
  const found: Piece[] = []
  for (const [at, id] of example.ids.entries()) {
    if (at >= limit) break
    const trained = example.trained[at] ?? false
    const token = { id, text: visible(example.texts[at] ?? '') }
    const last = found.at(-1)
    if (last?.trained === trained) last.tokens.push(token)
    else found.push({ trained, tokens: [token] })
  }
  return found
}
