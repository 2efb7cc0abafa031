/**
 * What a class pushes, `/classes/{classId}/live`. Read by fetch and not by EventSource, which cannot send the key for reading.
 */
import { ask, type NewBests, type RaceBoard } from './client'
import { EventReader } from './events'

export interface Listener {
  standings?(board: RaceBoard): void
  bests?(bests: NewBests): void
}

/** From a connection that was cut to the next, in milliseconds: what the service asks for. */
const RETRY_MS = 1000

/** The service is never silent for that long, in milliseconds: it says every 15 s that it is there. */
const SILENCE_MS = 45_000

/**
 * Listens until the function that it returns is called. A page that nobody looks at does not: browsers have few connections
 * to an origin, and all tabs share them.
 */
export function listen(classId: number, listener: Listener): () => void {
  const left = new AbortController()
  void (async () => {
    while (!left.signal.aborted) {
      await connection(classId, listener, left.signal).catch(() => {}) // cut, refused or away: the next one tells
      await new Promise((next) => setTimeout(next, RETRY_MS))
      await looked()
    }
  })()
  return () => left.abort()
}

/** One connection, until it ends. */
async function connection(classId: number, listener: Listener, left: AbortSignal): Promise<void> {
  const cut = new AbortController()
  const hidden = () => {
    if (document.hidden) cut.abort()
  }
  document.addEventListener('visibilitychange', hidden)
  let silence: ReturnType<typeof setTimeout> | undefined
  const heard = () => {
    clearTimeout(silence)
    silence = setTimeout(() => cut.abort(), SILENCE_MS)
  }
  try {
    heard()
    const response = await ask(`/classes/${classId}/live`, {
      signal: AbortSignal.any([left, cut.signal]),
    })
    if (!response.body) return
    const events = new EventReader()
    for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; heard()) {
      const { done, value } = await reader.read()
      if (done) return
      for (const { name, data } of events.take(value)) {
        if (left.aborted) return
        if (name === 'standings') listener.standings?.(JSON.parse(data) as RaceBoard)
        if (name === 'bests') listener.bests?.(JSON.parse(data) as NewBests)
      }
    }
  } finally {
    clearTimeout(silence)
    document.removeEventListener('visibilitychange', hidden)
  }
}

/** Resolves while the page is looked at. */
function looked(): Promise<void> {
  return new Promise((next) => {
    const look = () => {
      if (document.hidden) return
      document.removeEventListener('visibilitychange', look)
      next()
    }
    document.addEventListener('visibilitychange', look)
    look()
  })
}
