import { expect, test } from 'vitest'
import { match } from './routes'

test('every address means one page', () => {
  expect(match('/')).toEqual({ page: 'dashboard' })
  expect(match('/jobs')).toEqual({ page: 'jobs' })
  expect(match('/jobs/')).toEqual({ page: 'jobs' })
  expect(match('/jobs/12')).toEqual({ page: 'job', id: 12 })
  expect(match('/jobs/x')).toEqual({ page: 'missing', path: '/jobs/x' })
  expect(match('/jobs/1/2')).toEqual({ page: 'missing', path: '/jobs/1/2' })
  expect(match('/models')).toEqual({ page: 'models' })
  expect(match('/models/x')).toEqual({ page: 'missing', path: '/models/x' })
  expect(match('/verify')).toEqual({ page: 'verify' })
  expect(match('/train')).toEqual({ page: 'train' })
  expect(match('/runs/3')).toEqual({ page: 'run', id: 3 })
  expect(match('/runs')).toEqual({ page: 'missing', path: '/runs' })
  expect(match('/compare/3,1,3')).toEqual({ page: 'compare', ids: [3, 1] })
  expect(match('/compare/3')).toEqual({ page: 'missing', path: '/compare/3' })
  expect(match('/traces/7')).toEqual({ page: 'trace', id: 7 })
  expect(match('/traces')).toEqual({ page: 'missing', path: '/traces' })
  expect(match('/nothing')).toEqual({ page: 'missing', path: '/nothing' })
})
