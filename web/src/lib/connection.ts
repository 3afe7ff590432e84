/** A tab's side of the event stream: through the SharedWorker, or directly where there is none. */

import { Stream, type StreamMessage } from './stream'
import type { TabMessage } from './stream.worker'

export interface Connection {
  close(): void
}

export function connect(hear: (message: StreamMessage) => void): Connection {
  if (typeof SharedWorker === 'undefined') return direct(hear)
  let fallback: Connection | undefined
  const worker = new SharedWorker(new URL('./stream.worker.ts', import.meta.url), {
    type: 'module',
    name: 'thinkery-events',
  })
  const say = (message: TabMessage) => worker.port.postMessage(message)
  // A worker that could not be loaded never answers; the stream then runs in the page.
  worker.onerror = () => (fallback ??= direct(hear))
  worker.port.onmessage = (event: MessageEvent<StreamMessage>) => hear(event.data)
  worker.port.start()
  say('start')

  const visibility = () => say(document.visibilityState === 'visible' ? 'visible' : 'hidden')
  const leave = () => say('bye')
  const comeBack = (event: PageTransitionEvent) => event.persisted && say('start')
  document.addEventListener('visibilitychange', visibility)
  addEventListener('pagehide', leave)
  addEventListener('pageshow', comeBack)
  return {
    close() {
      document.removeEventListener('visibilitychange', visibility)
      removeEventListener('pagehide', leave)
      removeEventListener('pageshow', comeBack)
      say('stop')
      fallback?.close()
    },
  }
}

function direct(hear: (message: StreamMessage) => void): Connection {
  const stream = new Stream('/api/v1/events', hear)
  stream.start()
  return { close: () => stream.stop() }
}
