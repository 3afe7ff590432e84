/** What may be done with a job, by its state. */

import type { Job } from './api'

const OVER = ['done', 'failed', 'cancelled', 'interrupted']

export const isOver = (job: Job) => OVER.includes(job.state)
export const canStop = (job: Job) => job.state === 'queued' || job.state === 'running'
export const canRetry = (job: Job) => isOver(job) && job.state !== 'done'
