/**
 * The events of a class, `/classes/{classId}/live`. Read by fetch, because EventSource cannot send the key for reading.
 */
import type { NewBests, RaceBoard } from './client'
import { visible } from '../visible'
import { EventReader } from './events'
import { requestStream } from './request'

export interface Subscriber {
  /**
   * Called at the first event or comment of a connection, before it is shown. An open connection alone says nothing: a proxy
   * may hold back what is pushed. The service begins with the races that changed last, and without any with a comment.
   */
  pushing?(): void
  /** Called when a connection was lost, and after every attempt that failed. */
  closed?(): void
  standings?(board: RaceBoard): void
  bests?(bests: NewBests): void
}

/** Least time between two events of a kind, in milliseconds: the service sends up to four a second. */
export const PUSH_INTERVAL_MS = 250

/** Maximum number of rows of a race that is pushed. */
export const PUSHED_ROWS = 50

/** Delay before the next connection, in milliseconds: the service asks for it. It doubles while none pushes. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000

/** Maximum silence of a connection, in milliseconds: the service sends a comment every 15 s. */
const SILENCE_MS = 45_000

/**
 * Subscribes to the events of a class. Returns a function that ends the subscription. A hidden page has no connection:
 * browsers allow few to an origin, and all tabs share them.
 */
export function subscribe(classId: number, subscriber: Subscriber): () => void {
  const ended = new AbortController()
  void (async () => {
    let retryMs = RETRY_MIN_MS
    const pushing = () => {
      retryMs = RETRY_MIN_MS
      subscriber.pushing?.()
    }
    await visible()
    while (!ended.signal.aborted) {
      await connect(classId, { ...subscriber, pushing }, ended.signal).catch(() => {}) // retried
      if (!ended.signal.aborted) reported(() => subscriber.closed?.())
      if (await onlineWithin(retryMs)) retryMs = RETRY_MIN_MS
      else retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)
      await visible()
    }
  })()
  return () => ended.abort()
}

/** Reads one connection until it ends. */
async function connect(classId: number, subscriber: Subscriber, ended: AbortSignal): Promise<void> {
  const cut = new AbortController()
  const cutIfHidden = () => {
    if (document.hidden) cut.abort()
  }
  document.addEventListener('visibilitychange', cutIfHidden)
  let silence: ReturnType<typeof setTimeout> | undefined
  const restartSilence = () => {
    clearTimeout(silence)
    silence = setTimeout(() => cut.abort(), SILENCE_MS)
  }
  try {
    restartSilence()
    const signal = AbortSignal.any([ended, cut.signal])
    const response = await requestStream(`classes/${classId}/live`, { signal })
    if (!response.body) return
    const events = new EventReader()
    let isPushing = false
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    for (; ; restartSilence()) {
      const { done, value } = await reader.read()
      if (done) return
      for (const { name, data } of events.read(value)) {
        if (!isPushing) reported(() => subscriber.pushing?.())
        isPushing = true
        reported(() => {
          if (name === 'standings') subscriber.standings?.(JSON.parse(data) as RaceBoard)
          if (name === 'bests') subscriber.bests?.(JSON.parse(data) as NewBests)
        })
      }
    }
  } finally {
    clearTimeout(silence)
    document.removeEventListener('visibilitychange', cutIfHidden)
  }
}

/** Calls a subscriber. Its error is a fault of the page: it is reported, and does not count as a lost connection. */
function reported(call: () => void): void {
  try {
    call()
  } catch (error) {
    reportError(error)
  }
}

/** Resolves when the network is back, with true, or else after a delay, with false. */
function onlineWithin(delayMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isOnline: boolean) => {
      clearTimeout(timer)
      removeEventListener('online', back)
      resolve(isOnline)
    }
    const back = () => end(true)
    const timer = setTimeout(() => end(false), delayMs)
    addEventListener('online', back)
  })
}
