import { expect, it } from 'vitest'

import { EventReader, type PushedEvent } from './events'

const TEXT =
  'retry: 1000\n\nevent: standings\ndata: {"raceId":7}\n\n:\n\nevent: bests\ndata: {"count":\ndata: 1}\n\ndata:x: y\n\nevent: bests\ndata: cut'
const EVENTS: PushedEvent[] = [
  { name: 'standings', data: '{"raceId":7}' },
  { name: 'comment', data: '' },
  { name: 'bests', data: '{"count":\n1}' },
  { name: 'message', data: 'x: y' },
]

it('splits text into events at any cut', () => {
  for (let cut = 0; cut <= TEXT.length; cut++) {
    const reader = new EventReader()
    expect([...reader.read(TEXT.slice(0, cut)), ...reader.read(TEXT.slice(cut))]).toEqual(EVENTS)
  }
})
