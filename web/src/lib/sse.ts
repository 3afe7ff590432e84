/** Takes server-sent events apart, however the bytes were cut on their way. */

export interface SseEvent {
  event: string
  data: string
  id: string
}

/** An incremental parser: feed it text, get the events that are complete. */
export class SseParser {
  #rest = ''
  #event = ''
  #id = ''
  #data: string[] = []

  push(text: string): SseEvent[] {
    this.#rest += text
    const events: SseEvent[] = []
    for (;;) {
      const end = this.#rest.search(/\r\n|\n|\r(?!$)/)
      if (end < 0) return events
      const line = this.#rest.slice(0, end)
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith('\r\n', end) ? 2 : 1))
      const event = this.#line(line)
      if (event) events.push(event)
    }
  }

  #line(line: string): SseEvent | undefined {
    if (line === '') {
      if (this.#data.length === 0) {
        this.#event = ''
        return undefined
      }
      const event = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id }
      this.#event = ''
      this.#data = []
      return event
    }
    const colon = line.indexOf(':')
    if (colon === 0) return undefined
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#event = value
    else if (field === 'id') this.#id = value
    return undefined
  }
}
