/** The shared side of the event stream: one connection, handed on to every tab. */

import { Stream, type StreamMessage } from './stream'

export type TabMessage = 'visible' | 'hidden' | 'bye' | 'start' | 'stop'

/** A browser whose every tab is hidden gives its connection back after a minute. */
const HIDDEN_CLOSE_MS = 60_000

const tabs = new Map<MessagePort, { visible: boolean }>()
let closing: ReturnType<typeof setTimeout> | undefined

const stream = new Stream('/api/v1/events', (message: StreamMessage) => {
  for (const port of tabs.keys()) port.postMessage(message)
})

function settle() {
  const visible = [...tabs.values()].some((tab) => tab.visible)
  if (visible) {
    clearTimeout(closing)
    closing = undefined
    stream.start()
  } else if (stream.open && closing === undefined) {
    closing = setTimeout(() => {
      closing = undefined
      stream.stop()
      for (const port of tabs.keys()) port.postMessage({ kind: 'state', live: false })
    }, HIDDEN_CLOSE_MS)
  }
}

function hear(port: MessagePort, message: TabMessage) {
  if (message === 'bye') tabs.delete(port)
  else if (message === 'stop') {
    tabs.delete(port)
    if (tabs.size === 0) stream.stop()
  } else tabs.set(port, { visible: message !== 'hidden' })
  if (message === 'start' && stream.live) port.postMessage({ kind: 'state', live: true })
  settle()
}

;(self as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = (event) => {
  const port = event.ports[0]
  if (!port) return
  port.onmessage = (said: MessageEvent<TabMessage>) => hear(port, said.data)
}
