import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, type EffectScope } from 'vue'

import { ApiError } from '../api/request'
import { reachable, service, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { useLoad, useUpToDate } from './useLoad'

vi.mock('../state/service', () => import('../state/service.fake'))

let scope: EffectScope

/** Polls the service, and waits for what follows. */
async function poll(): Promise<void> {
  service.now += 1
  await settled()
}

function open(load: () => Promise<void>): void {
  scope.run(() => useLoad(load))
}

beforeEach(() => {
  scope = effectScope()
  reachable.value = true
})
afterEach(() => scope.stop())

it('loads again after polls until it succeeds, also while the service is reachable', async () => {
  const away = new ApiError('away', 'away')
  const load = vi
    .fn(async () => {})
    .mockRejectedValueOnce(away)
    .mockRejectedValueOnce(away)
  open(load)
  await settled()
  await poll()
  expect(load).toHaveBeenCalledTimes(2)
  await poll()
  await poll()
  expect(load).toHaveBeenCalledTimes(3)
})

it('waits for twice as many polls after each try that fails, until one succeeds', async () => {
  const load = vi.fn(async () => {}).mockRejectedValue(new ApiError('unready', 'overloaded'))
  const again = scope.run(() => useLoad(load))!
  await settled()
  /** Polls this many times, and returns which of these polls were followed by a load. */
  async function triesOf(polls: number): Promise<number[]> {
    const tries: number[] = []
    for (let i = 1; i <= polls; i++) {
      const before = load.mock.calls.length
      await poll()
      if (load.mock.calls.length > before) tries.push(i)
    }
    return tries
  }
  expect(await triesOf(30)).toEqual([1, 3, 7, 15, 23])
  load.mockResolvedValueOnce()
  expect(await triesOf(1)).toEqual([1])
  await again()
  expect(await triesOf(3)).toEqual([1, 3])
})

it('a poll that changes the class and is a retry, too, causes one load', async () => {
  const load = vi.fn(async () => {
    await settled()
    throw new ApiError('unready', 'overloaded')
  })
  stateHash.value = 'A'
  scope.run(() => useUpToDate(1, load))
  await settled()
  const loads: number[] = []
  for (const hash of ['B', 'C', 'C', 'D', 'D', 'D', 'D', 'D']) {
    const before = load.mock.calls.length
    const polled = poll()
    stateHash.value = hash
    await polled
    await settled()
    loads.push(load.mock.calls.length - before)
  }
  expect(loads).toEqual([1, 1, 1, 1, 0, 1, 0, 0])
})

it('does not load again, and waits for one poll only, after another load succeeded', async () => {
  const load = vi.fn(async () => {}).mockRejectedValue(new ApiError('unready', 'overloaded'))
  stateHash.value = 'A'
  scope.run(() => useUpToDate(1, load))
  await settled()
  await poll()
  expect(load).toHaveBeenCalledTimes(2)
  load.mockResolvedValueOnce()
  stateHash.value = 'B'
  await settled()
  for (let polls = 0; polls < 4; polls++) await poll()
  expect(load).toHaveBeenCalledTimes(3)
  stateHash.value = 'C'
  await settled()
  expect(load).toHaveBeenCalledTimes(4)
  await poll()
  expect(load).toHaveBeenCalledTimes(5)
})

it('does not load again while a load is under way', async () => {
  const load = vi.fn(() => new Promise<void>(() => {}))
  const again = scope.run(() => useLoad(load))!
  void again()
  await poll()
  expect(load).toHaveBeenCalledTimes(1)
})

it('does not load while the service is not reachable', async () => {
  const load = vi.fn(async () => {}).mockRejectedValueOnce(new ApiError('locked', 'locked'))
  reachable.value = false
  open(load)
  await poll()
  expect(load).toHaveBeenCalledTimes(1)
  reachable.value = true
  await poll()
  expect(load).toHaveBeenCalledTimes(2)
})

it('does not repeat what the service refused', async () => {
  const load = vi.fn(async () => {}).mockRejectedValueOnce(new ApiError('refused', 'refused'))
  open(load)
  await settled()
  await poll()
  expect(load).toHaveBeenCalledTimes(1)
})
