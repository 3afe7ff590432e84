/**
 * What the server last said, kept up to date.
 *
 * The server owns the truth: a snapshot by `/status`, then events. An event that names numbers is shown
 * at once; the snapshot is asked for again at most once a second while things change.
 */

import {
  client,
  failure,
  take,
  type Failure,
  type Job,
  type News,
  type Status,
  type StepNews,
} from './api'
import { connect, type Connection } from './connection'
import { curves } from './curves.svelte'
import type { StreamMessage } from './stream'

/** While things change, the snapshot is asked for again this often at most. */
const REFRESH_MS = 1000

/** A connection that is away for so long is no longer "reconnecting": the numbers are stale. */
const STALE_MS = 10_000

/** While the stream is away, the server is asked this often whether it is still there. */
const ASK_MS = 5000

class Live {
  status = $state.raw<Status>()
  failure = $state<Failure>()
  /** Jobs as the stream last told them, by id. */
  jobs = $state.raw<ReadonlyMap<number, Job>>(new Map())
  connection = $state<'connecting' | 'live' | 'reconnecting' | 'stale'>('connecting')
  /** When the connection was last alive, in ms. */
  aliveAt = $state(Date.now())
  /** The time, for durations that grow; ticks once a second. */
  now = $state(Date.now())

  /** Whoever follows the steps of a run. */
  readonly onStep = new Set<(news: StepNews) => void>()

  #connection: Connection | undefined
  #clock: ReturnType<typeof setInterval> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #asking = false
  #askAgain = false
  #askedAt = 0

  constructor() {
    // A tab that nobody sees asks for nothing; when it is seen again, it catches up.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.#connection) void this.refresh()
    })
  }

  start() {
    if (this.#connection) return
    this.#connection = connect((message) => this.#hear(message))
    this.#clock = setInterval(() => this.#tick(), 1000)
    void this.refresh()
  }

  stop() {
    this.#connection?.close()
    this.#connection = undefined
    clearInterval(this.#clock)
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.status = undefined
    this.jobs = new Map()
    this.connection = 'connecting'
    curves.forget()
  }

  /** Asks for the snapshot now; a call during a call asks once more afterwards. */
  async refresh() {
    if (this.#asking) {
      this.#askAgain = true
      return
    }
    this.#asking = true
    this.#askedAt = Date.now()
    try {
      const status = await take(client.GET('/status'))
      this.status = status
      this.failure = undefined
      void curves.follow(status.runs)
    } catch (thrown) {
      this.failure = failure(thrown)
    } finally {
      this.#asking = false
    }
    if (this.#askAgain) {
      this.#askAgain = false
      this.soon()
    }
  }

  /** Asks for the snapshot within a second. */
  soon() {
    if (this.#timer !== undefined || !this.#connection || document.hidden) return
    const wait = Math.max(50, this.#askedAt + REFRESH_MS - Date.now())
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.refresh()
    }, wait)
  }

  /** Takes in a job that an answer or an event told. */
  put(job: Job) {
    const jobs = new Map(this.jobs)
    jobs.set(job.id, job)
    this.jobs = jobs
    this.#patch(job)
  }

  #hear(message: StreamMessage) {
    if (message.kind === 'state') {
      const was = this.connection
      if (message.live) {
        this.connection = 'live'
        if (was !== 'live') void this.#catchUp()
      } else if (was === 'live' || was === 'connecting') {
        this.aliveAt = Date.now()
        this.connection = 'reconnecting'
      }
      return
    }
    if (this.connection !== 'live') this.connection = 'live'
    this.#take(JSON.parse(message.data) as News)
  }

  #take(news: News) {
    switch (news.topic) {
      case 'job':
        this.put(news.data)
        this.soon()
        break
      case 'step':
        if (document.hidden) break
        curves.hear(news.data)
        for (const hear of this.onStep) hear(news.data)
        break
      case 'counts':
        if (this.status) this.status = { ...this.status, counts: news.data }
        break
      case 'score':
        this.soon()
        break
      case 'resync':
        void this.#catchUp()
        break
    }
  }

  async #catchUp() {
    curves.stale()
    await this.refresh()
  }

  #tick() {
    this.now = Date.now()
    if (this.connection === 'reconnecting' && this.now - this.aliveAt > STALE_MS) {
      this.connection = 'stale'
    }
    // The stream does not say why it is away; a request does: the server is gone, or the login is.
    const away = this.connection !== 'live' && !document.hidden
    if (away && this.now - this.#askedAt > ASK_MS) void this.refresh()
  }

  /** Shows a job's progress in its stage before the next snapshot comes. */
  #patch(job: Job) {
    const status = this.status
    const stage = status?.stages.find((stage) => stage.job_id === job.id)
    if (!status || !stage || stage.job_ids.length !== 1) return
    const { done, total, note } = job.progress
    const patched = { ...stage, state: job.state, done, total, note }
    this.status = {
      ...status,
      stages: status.stages.map((other) => (other === stage ? patched : other)),
    }
  }
}

export const live = new Live()
