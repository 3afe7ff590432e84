import { expect, test } from 'vitest'
import { familyName, lesson, tables } from './scores'

const score = (model: string, benchmark: string, mean: number, standard_error = 3) => ({
  model,
  benchmark,
  mean,
  standard_error,
  n: 40,
})

const SCORES = [
  score('verified', 'rehearsal', 80),
  score('verified', 'rehearsal/units', 75),
  score('other', 'rehearsal', 10),
  score('unverified', 'rehearsal', 60, 4),
  score('untrained', 'rehearsal', 0, 0),
]

test('the overall row comes first, and models in the order of the lesson', () => {
  const [table] = tables(SCORES)
  expect(table?.models).toEqual(['untrained', 'unverified', 'verified', 'other'])
  expect(table?.rows.map((row) => row.family)).toEqual(['', 'units'])
  expect(table?.rows[1]?.cells.map((cell) => cell?.mean)).toEqual([
    undefined,
    undefined,
    75,
    undefined,
  ])
})

test('the lesson is told with the standard error of the difference', () => {
  const [table] = tables(SCORES)
  expect(table && lesson(table)).toBe(
    'Training on verified traces scores 20.0 points above training on all of them, 4.0 standard errors of the difference.',
  )
})

test('no difference is called none', () => {
  const [table] = tables([score('verified', 'r', 0, 0), score('unverified', 'r', 0, 0)])
  expect(table && lesson(table)).toBe(
    'Training on verified traces scores the same as training on all of them.',
  )
})

test('without both arms there is no lesson', () => {
  const [table] = tables([score('verified', 'rehearsal', 80)])
  expect(table && lesson(table)).toBe('')
})

test('families are written as words', () => {
  expect(['', 'linear_equations'].map(familyName)).toEqual(['Overall', 'Linear equations'])
})
