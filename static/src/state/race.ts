/** A race on this page: its clock, what is ridden, and the board at every second. */
import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'

import { autopilot } from '../race/autopilot'
import type { LiveBoard } from '../race/board'
import { RaceClock, type Speed } from '../race/clock'
import { output, RACE_SECONDS } from '../race/output'
import { Ride, type Sample } from '../race/ride'
import type { Identity } from './rider'
import { useSending } from './sending'
import { classOf } from './service'
import { load, type Source } from './source'

/** How often the clock is looked at, in milliseconds. */
const TICK_MS = 40

/** The rows of the all-time board: the rider in the middle of nine. */
export const BOARD_ROWS = 9

export function useRace(classId: () => number, rider: Identity) {
  const phase = ref<'ready' | 'loading' | 'riding' | 'paused' | 'done'>('ready')
  const loaded = ref(0)
  const failure = ref<string | null>(null)
  const cadence = ref(80)
  const resistance = ref(40)
  const auto = ref(false)
  const speed = ref<Speed>(1)
  const second = ref(0)
  const source = shallowRef<Source | null>(null)
  const board = shallowRef<LiveBoard | null>(null)
  /** The second that the board shows: behind the clock while the service takes its time. */
  const boardSecond = ref(0)
  const samples = shallowRef<readonly Sample[]>([])
  const sending = useSending()
  const sample = computed<Sample | null>(() => samples.value.at(-1) ?? null)
  const now = computed(() => output(cadence.value, resistance.value))

  let ride = new Ride()
  let clock = new RaceClock(RACE_SECONDS, speed.value)
  let ticking: ReturnType<typeof setInterval> | undefined
  let asking = false
  let generation = 0

  async function start(): Promise<void> {
    const summary = classOf(classId())
    if (!summary || phase.value === 'loading') return
    stop()
    const of = ++generation
    ;[phase.value, loaded.value, failure.value] = ['loading', 0, null]
    try {
      const ready = await load(summary, rider.racerId, (share) => (loaded.value = share))
      if (of !== generation) return
      source.value = ready
    } catch (error) {
      if (of !== generation) return
      failure.value = error instanceof Error ? error.message : 'The history cannot be loaded.'
      phase.value = 'ready'
      return
    }
    ;[ride, samples.value] = [new Ride(), []]
    ;[second.value, boardSecond.value, board.value] = [0, 0, null]
    sending.begin()
    clock = new RaceClock(RACE_SECONDS, speed.value)
    clock.start(performance.now())
    phase.value = 'riding'
    ticking = setInterval(tick, TICK_MS)
  }

  function tick(): void {
    const reached = clock.second(performance.now())
    if (reached === second.value) return
    for (let at = second.value + 1; at <= reached; at++) step(at)
    second.value = reached
    samples.value = [...ride.samples]
    if (reached >= RACE_SECONDS) {
      clearInterval(ticking)
      phase.value = 'done'
    }
  }

  function step(at: number): void {
    const from = source.value
    if (!from) return
    const best = from.best(at)
    if (auto.value) {
      const ridden = autopilot(
        at,
        RACE_SECONDS,
        best,
        from.record(at)?.output ?? null,
        Math.random(),
      )
      ;[cadence.value, resistance.value] = [ridden.cadence, ridden.resistance]
    }
    const sample = ride.add(at, cadence.value, resistance.value, best)
    sending.add(classId(), { ...rider }, sample, at === RACE_SECONDS)
    void place(from, sample)
  }

  /** Finds the place at a second. One question to the service at a time, so that a slow one is not asked ever more. */
  async function place(from: Source, sample: Sample): Promise<void> {
    const of = generation
    const answer =
      from.kind === 'service' && asking && sample.second < RACE_SECONDS
        ? null
        : from.board(sample.second, sample.output, BOARD_ROWS)
    if (!answer) return
    let found: LiveBoard
    if (answer instanceof Promise) {
      asking = true
      try {
        found = await answer
        failure.value = null
      } catch (error) {
        failure.value = error instanceof Error ? error.message : 'The board cannot be asked for.'
        return
      } finally {
        asking = false
      }
    } else {
      found = answer
    }
    if (of !== generation) return
    ride.place(sample.second, found.rank, found.total)
    if (sample.second >= boardSecond.value)
      [board.value, boardSecond.value] = [found, sample.second]
    samples.value = [...ride.samples]
  }

  function pause(): void {
    if (phase.value !== 'riding') return
    clock.pause(performance.now())
    phase.value = 'paused'
  }

  function resume(): void {
    if (phase.value !== 'paused') return
    clock.start(performance.now())
    phase.value = 'riding'
  }

  /** Gives the race up. */
  function stop(): void {
    generation += 1
    clearInterval(ticking)
    phase.value = 'ready'
    ;[second.value, boardSecond.value, board.value] = [0, 0, null]
    ;[ride, samples.value] = [new Ride(), []]
  }

  watch(speed, (value) => clock.setSpeed(value, performance.now()))
  onScopeDispose(stop)

  return {
    phase,
    loaded,
    failure,
    cadence,
    resistance,
    auto,
    speed,
    second,
    source,
    board,
    boardSecond,
    samples,
    sample,
    now,
    sending,
    start,
    pause,
    resume,
    stop,
  }
}

export type RaceInPage = ReturnType<typeof useRace>
