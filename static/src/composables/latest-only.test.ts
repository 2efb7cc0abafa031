import { expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import { latestOnly } from './latest-only'

it('calls during a run cause one more run', async () => {
  const ends: (() => void)[] = []
  const staleAtEnd: boolean[] = []
  const load = effectScope().run(() =>
    latestOnly(async (isStale) => {
      await new Promise<void>((resolve) => ends.push(resolve))
      staleAtEnd.push(isStale())
    }),
  )!
  const all = load()
  void load()
  void load()
  ends[0]?.()
  await vi.waitFor(() => expect(ends).toHaveLength(2))
  ends[1]?.()
  await all
  expect(staleAtEnd).toEqual([true, false])
})

it('nothing is loaded after the end of the scope, and a run under way is stale', async () => {
  const scope = effectScope()
  let end: () => void = () => {}
  const run = vi.fn(async (isStale: () => boolean) => {
    await new Promise<void>((resolve) => (end = resolve))
    expect(isStale()).toBe(true)
  })
  const load = scope.run(() => latestOnly(run))!
  const first = load()
  scope.stop()
  end()
  await first
  void load()
  expect(run).toHaveBeenCalledTimes(1)
})
