import { beforeEach, expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import { useRetried } from './useRetried'

const service = vi.hoisted(() => ({ reachable: null as unknown as { value: boolean } }))
vi.mock('../state/service', async () => {
  const { ref } = await import('vue')
  return { reachable: (service.reachable = ref(false)) }
})

/** Waits for all that is on its way. */
const settled = () => new Promise((resolve) => setTimeout(resolve))

/** Begins a load, during which the service is found. */
async function open() {
  let resolve = () => {}
  let reject: (error: Error) => void = () => {}
  const first = new Promise<void>((...settle) => ([resolve, reject] = settle))
  const load = vi.fn().mockReturnValueOnce(first).mockResolvedValue(undefined)
  effectScope().run(() => useRetried(load))
  service.reachable.value = true
  await settled()
  return { resolve, reject, load }
}

beforeEach(() => {
  service.reachable.value = false
})

it('does not load again what is under way when the service is found', async () => {
  const { resolve, load } = await open()
  resolve()
  await settled()
  expect(load).toHaveBeenCalledTimes(1)
})

it('loads again if what was under way fails', async () => {
  const { reject, load } = await open()
  reject(new Error('away'))
  await settled()
  expect(load).toHaveBeenCalledTimes(2)
})
