import { expect, test } from 'vitest'
import { SseParser } from './sse'

const TEXT =
  ': hello\n\nid: 7\nevent: job\ndata: {"a":1}\n\ndata: one\r\ndata: two\r\n\r\nevent: empty\n\ndata: [DONE]\n\n'
const EVENTS = [
  { event: 'job', data: '{"a":1}', id: '7' },
  { event: 'message', data: 'one\ntwo', id: '7' },
  { event: 'message', data: '[DONE]', id: '7' },
]

test('events come out whole', () => {
  expect(new SseParser().push(TEXT)).toEqual(EVENTS)
})

test('events are the same however the bytes are cut', () => {
  for (let size = 1; size < 20; size++) {
    const parser = new SseParser()
    const events = []
    for (let at = 0; at < TEXT.length; at += size)
      events.push(...parser.push(TEXT.slice(at, at + size)))
    expect(events, `pieces of ${size}`).toEqual(EVENTS)
  }
})
