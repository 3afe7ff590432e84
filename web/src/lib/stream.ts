/**
 * The one event stream of a browser.
 *
 * Runs in a SharedWorker, so that eight tabs hold one connection (HTTP/1.1 allows six), and in the page
 * itself where there is no SharedWorker.
 */

/** Names of the events the server sends, beside its comments. */
export const TOPICS = ['job', 'step', 'counts', 'score', 'resync'] as const

export type StreamMessage =
  { kind: 'event'; topic: string; id: string; data: string } | { kind: 'state'; live: boolean }

/** The browser gives up on an answer that is not an event stream; then we ask again. */
const RETRY_MS = 3000

export class Stream {
  #source: EventSource | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #url: string
  #last = ''
  #send: (message: StreamMessage) => void

  constructor(url: string, send: (message: StreamMessage) => void) {
    this.#url = url
    this.#send = send
  }

  get open(): boolean {
    return this.#source !== undefined || this.#timer !== undefined
  }

  get live(): boolean {
    return this.#source?.readyState === EventSource.OPEN
  }

  start() {
    if (this.open) return
    const source = new EventSource(this.#last ? `${this.#url}?after=${this.#last}` : this.#url)
    this.#source = source
    source.onopen = () => this.#send({ kind: 'state', live: true })
    source.onerror = () => {
      this.#send({ kind: 'state', live: false })
      if (source.readyState === EventSource.CLOSED) {
        this.stop()
        this.#timer = setTimeout(() => {
          this.#timer = undefined
          this.start()
        }, RETRY_MS)
      }
    }
    for (const topic of TOPICS) {
      source.addEventListener(topic, (event) => {
        this.#last = event.lastEventId
        this.#send({ kind: 'event', topic, id: event.lastEventId, data: event.data })
      })
    }
  }

  stop() {
    this.#source?.close()
    this.#source = undefined
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
