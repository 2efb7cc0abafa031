// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { computed, effectScope, nextTick, ref, shallowRef, type EffectScope } from 'vue'

import { pace } from '../api/client'
import { ApiError } from '../api/request'
import { NO_PACER } from '../race/pacer'
import type { Sample } from '../race/ride'
import { pacer } from '../state/pacer'
import { rider } from '../state/rider'
import { service } from '../state/service.fake'
import { settled } from '../test-helpers'
import { usePacer } from './usePacer'

vi.mock('../api/client', () => ({ pace: vi.fn(), leaderboard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

const PACE = { classId: 1, seconds: [1, 2], curves: [{ percentile: 50, outputs: [100, 120] }] }

type Phase = 'ready' | 'loading' | 'riding' | 'paused' | 'done'

let scope: EffectScope

function open() {
  const phase = ref<Phase>('ready')
  const sample = ref<Sample | null>(null)
  const race = {
    phase,
    racing: computed(() => phase.value === 'riding'),
    sample: computed(() => sample.value),
    identity: shallowRef(rider.value),
  }
  const used = scope.run(() => usePacer(1, race))!
  return { phase, sample, used, identity: race.identity }
}

beforeEach(() => {
  scope = effectScope()
  pacer.value = { kind: 'median', racerId: null, name: '' }
  vi.mocked(pace).mockReset().mockResolvedValue(PACE)
})
afterEach(() => scope.stop())

it('the gap is the output minus the pacer’s at the last second', async () => {
  const { phase, sample, used } = open()
  await settled()
  expect(pace).toHaveBeenCalledWith(1, { percentile: [50] })
  phase.value = 'riding'
  sample.value = { second: 2, output: 118.5 } as Sample
  expect(used.gap.value).toBe(-1.5)
  sample.value = { second: 3, output: 118.5 } as Sample
  expect(used.gap.value).toBeNull()
  expect(used.kept()?.outputs.slice(0, 3)).toEqual([100, 120, null])
})

it('another choice waits until the next ride begins', async () => {
  const { phase, sample, used } = open()
  await settled()
  phase.value = 'riding'
  await nextTick()
  pacer.value = { ...NO_PACER }
  await settled()
  expect(used.label.value).toBe('Median')
  sample.value = { second: 2, output: 118.5 } as Sample
  phase.value = 'done'
  await nextTick()
  pacer.value = { ...NO_PACER, kind: 'record' }
  await settled()
  expect(used.label.value).toBe('Median')
  expect(used.gap.value).toBe(-1.5)
  pacer.value = { ...NO_PACER }
  phase.value = 'loading'
  await settled()
  expect(used.state.value).toBe('none')
})

it('the gap is not that to an earlier choice while the later one is loaded', async () => {
  const { sample, used } = open()
  await settled()
  sample.value = { second: 2, output: 118.5 } as Sample
  vi.mocked(pace).mockReturnValue(new Promise(() => {}))
  pacer.value = { ...NO_PACER, kind: 'record' }
  await settled()
  expect(used.state.value).toBe('loading')
  expect(used.gap.value).toBeNull()
})

it('a pacer that could not be loaded is loaded after the next poll, whatever is chosen meanwhile', async () => {
  vi.mocked(pace).mockRejectedValueOnce(new ApiError('away', 'away'))
  const { phase, used } = open()
  await settled()
  expect(used.state.value).toBe('failed')
  phase.value = 'riding'
  pacer.value = { ...NO_PACER, kind: 'record' }
  await nextTick()
  service.now += 1
  await settled()
  expect(used.state.value).toBe('ready')
  expect(used.label.value).toBe('Median')
  expect(pace).toHaveBeenLastCalledWith(1, { percentile: [50] })
})

it('a pacer that the service refused is not loaded again', async () => {
  vi.mocked(pace).mockRejectedValue(new ApiError('refused', 'no'))
  const { used } = open()
  await settled()
  expect(used.state.value).toBe('failed')
  service.now += 1
  await settled()
  expect(pace).toHaveBeenCalledOnce()
})

it.each([
  [1, { gaps: [null, null, 120], kept: [null, 120] }],
  [3, { gaps: [null, null, null], kept: undefined }],
])('a curve that comes at second %i of a ride has the seconds after it', async (second, has) => {
  vi.mocked(pace).mockRejectedValueOnce(new ApiError('away', 'away'))
  const { phase, sample, used } = open()
  await settled()
  phase.value = 'riding'
  sample.value = { second, output: 110 } as Sample
  service.now += 1
  await settled()
  expect(used.state.value).toBe('ready')
  expect([used.gap.value, used.at(1), used.at(2)]).toEqual(has.gaps)
  expect(used.kept()?.outputs.slice(0, 2)).toEqual(has.kept)
})

it('a curve that was requested before the ride is whole, also if it comes during it', async () => {
  let respond: () => void = () => {}
  vi.mocked(pace).mockReturnValueOnce(new Promise((resolve) => (respond = () => resolve(PACE))))
  const { phase, sample, used } = open()
  phase.value = 'riding'
  sample.value = { second: 1, output: 110 } as Sample
  respond()
  await settled()
  expect(used.gap.value).toBe(10)
})

it('is not loaded after the ride, of which it would have the outputs', async () => {
  vi.mocked(pace).mockRejectedValueOnce(new ApiError('away', 'away'))
  const { phase, used } = open()
  await settled()
  phase.value = 'done'
  service.now += 1
  await settled()
  expect(used.state.value).toBe('failed')
})

it.each(['comes late', 'fails late'])(
  'a curve of an earlier choice that %s does not replace the later one',
  async (how) => {
    let settle: [resolve: (found: typeof PACE) => void, reject: (error: Error) => void]
    vi.mocked(pace).mockReturnValueOnce(new Promise((...both) => (settle = both)))
    const { sample, used } = open()
    pacer.value = { ...NO_PACER, kind: 'record' }
    await settled()
    const [resolve, reject] = settle!
    if (how === 'comes late') resolve({ ...PACE, curves: [{ percentile: 50, outputs: [50, 60] }] })
    else reject(new ApiError('away', 'away'))
    await settled()
    sample.value = { second: 2, output: 118.5 } as Sample
    expect(used.state.value).toBe('ready')
    expect(used.gap.value).toBe(-1.5)
  },
)

it('a pacer that is chosen after one could not be loaded is loaded once', async () => {
  vi.mocked(pace).mockRejectedValueOnce(new ApiError('away', 'away'))
  open()
  await settled()
  pacer.value = { ...NO_PACER, kind: 'record' }
  await settled()
  service.now += 1
  await settled()
  expect(pace).toHaveBeenCalledTimes(2)
})

it('a pacer who is the rider is the rider’s own best', async () => {
  const { racerId } = rider.value
  pacer.value = { kind: 'racer', racerId, name: 'Arjun' }
  const { phase, sample, used } = open()
  await settled()
  phase.value = 'riding'
  sample.value = { second: 2, output: 118.5 } as Sample
  expect(used.label.value).toBe('Your best')
  expect(used.rowAt(2)).toMatchObject({ label: 'Your best', racerId: null })
  expect(pace).toHaveBeenCalledWith(1, { racers: [racerId] })
})

it('the own best is that of the rider of this ride', async () => {
  pacer.value = { ...NO_PACER, kind: 'best' }
  const { phase, identity } = open()
  await settled()
  phase.value = 'loading'
  const before = rider.value
  rider.value = { ...before, racerId: 77 }
  await settled()
  expect(pace).toHaveBeenLastCalledWith(1, { racers: [before.racerId] })
  identity.value = rider.value
  await settled()
  expect(pace).toHaveBeenLastCalledWith(1, { racers: [77] })
  rider.value = before
})

it('a pacer without an output in the class is empty', async () => {
  vi.mocked(pace).mockResolvedValue({ ...PACE, curves: [{ outputs: [null, null] }] })
  const { used } = open()
  await settled()
  expect(used.state.value).toBe('empty')
  expect(used.kept()).toBeUndefined()
})
