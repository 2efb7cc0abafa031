/** A race on this page: its clock, the ride, and the board at every second. */
import { watchDebounced } from '@vueuse/core'
import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'

import { messageOf } from '../api/request'
import { autopilot } from '../race/autopilot'
import { nextPlace, type LiveBoard, type NextPlace } from '../race/board'
import { loadSource, type BoardSource, type Sourced } from '../state/board-source'
import { RaceClock, type Speed } from '../race/clock'
import { output, RACE_SECONDS } from '../race/output'
import { toOwnRide, type OwnRide } from '../race/own-ride'
import { Ride, type Sample } from '../race/ride'
import { outbox } from '../state/outbox'
import { displayName, rider, type Identity } from '../state/rider'
import { RideSender } from '../state/sending'
import { classOf, reachable, ridesOpen } from '../state/service'
import { serviceTime } from '../state/service-time'
import { useLiveBoard } from './useLiveBoard'

/** Interval at which the clock is read, in milliseconds: shorter than a second at the greatest speed. */
const TICK_MS = 40

/** Delay before a name that is entered in another tab is the ride's, in milliseconds: until it is typed. */
const RENAME_MS = 1000

/** `keep` receives a ride that has ended, and once more with a rank that is known later. */
export function useRace(classId: number, keep: (ride: OwnRide) => void) {
  const phase = ref<'ready' | 'loading' | 'riding' | 'paused' | 'done'>('ready')
  const loaded = ref(0)
  const failure = ref<string | null>(null)
  const cadence = ref(80)
  const resistance = ref(40)
  const auto = ref(false)
  const speed = ref<Speed>(1)
  const second = ref(0)
  const source = shallowRef<BoardSource | null>(null)
  const live = useLiveBoard(addRank)
  const samples = shallowRef<readonly Sample[]>([])
  /** The race of the last ride; null before the first. */
  const raceId = ref<number | null>(null)
  /** The rider of the ride on the head unit, or of the next ride. Another tab may have chosen another rider since. */
  const identity = shallowRef<Identity>({ ...rider.value })
  /** Whether a part of the ride was faster than real time, or ridden by the page. Such a ride is never sent. */
  const practice = ref(false)

  const sample = computed<Sample | null>(() => samples.value.at(-1) ?? null)
  /** The output at the present cadence and resistance. */
  const outputNow = computed(() => output(cadence.value, resistance.value))
  const racing = computed(() => phase.value === 'riding' || phase.value === 'paused')
  const isPractice = computed(() => auto.value || speed.value !== 1)
  /** Whether the current ride, or one that began now, is not sent. */
  const isUnsent = computed(() => (racing.value ? practice.value : isPractice.value))
  /** Whether the current ride counts. Then speed and “Ride for me” cannot be changed, so that no touch makes it practice. */
  const isCounted = computed(() => ridesOpen && racing.value && !practice.value)
  /** How the ride under way is being sent; null without one, and before its first second. */
  const delivery = computed(() =>
    racing.value && raceId.value !== null ? (outbox.deliveries.get(raceId.value) ?? null) : null,
  )

  let ride = new Ride()
  let next: NextPlace | null = null
  let clock = new RaceClock(RACE_SECONDS, speed.value)
  let sender: RideSender | null = null
  let ticking: ReturnType<typeof setInterval> | undefined
  /** Number of the ride. A history that was loaded for an earlier one is ignored. */
  let generation = 0

  function clear(): void {
    generation += 1
    clearInterval(ticking)
    live.clearBoard()
    second.value = 0
    ;[ride, source.value, samples.value, next] = [new Ride(), null, [], null]
  }

  async function start(): Promise<void> {
    const summary = classOf(classId)
    if (!summary || phase.value === 'loading') return
    clear()
    const started = generation
    ;[phase.value, loaded.value, failure.value] = ['loading', 0, null]
    identity.value = { ...rider.value }
    try {
      const onProgress = (share: number) => (loaded.value = share)
      const isRealTime = () => speed.value === 1
      const ready = await loadSource(summary, identity.value.racerId, isRealTime, onProgress)
      if (started !== generation) return
      source.value = ready
    } catch (error) {
      if (started !== generation) return
      failure.value = messageOf(error, 'The history cannot be loaded.')
      phase.value = 'ready'
      return
    }
    raceId.value = serviceTime()
    practice.value = isPractice.value
    sender =
      ridesOpen && !practice.value
        ? new RideSender(raceId.value, summary.classId, () => identity.value, outbox)
        : null
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
    if (reached >= RACE_SECONDS) finish()
  }

  /** Rides the seconds that have passed: browsers rarely call the timers of a hidden page. */
  function catchUp(): void {
    if (phase.value === 'riding') tick()
  }

  function step(at: number): void {
    const from = source.value
    if (!from) return
    const best = from.best(at)
    if (auto.value) {
      const classRecord = from.classRecord(at)?.output ?? null
      const ridden = autopilot(at, RACE_SECONDS, best, classRecord, Math.random())
      ;[cadence.value, resistance.value] = [ridden.cadence, ridden.resistance]
    }
    const sample = ride.add(at, cadence.value, resistance.value, best)
    sender?.add(sample, at === RACE_SECONDS)
    void live.rank(from, sample)
  }

  function addRank(at: number, { value: board, asOfStart }: Sourced<LiveBoard>): void {
    // Others may have been better by now. A ride that is not sent keeps the rank.
    if (asOfStart && sender) return
    ride.rank(at, board.rank, board.total)
    if (at === RACE_SECONDS) next = nextPlace(board, identity.value.racerId)
    samples.value = [...ride.samples]
    // The last rank may come after the finish.
    if (phase.value === 'done') keep(asOwnRide(false))
  }

  function finish(): void {
    clearInterval(ticking)
    phase.value = 'done'
    keep(asOwnRide(false))
  }

  function asOwnRide(gaveUp: boolean): OwnRide {
    const { samples } = ride
    const head = {
      raceId: raceId.value ?? 0,
      classId,
      racerId: identity.value.racerId,
      riderName: displayName(identity.value),
      practice: practice.value,
      gaveUp,
      sent: sender !== null,
      delivered: false,
      refused: null,
      next,
      classRecords: samples.map(({ second }) => source.value?.classRecord(second)?.output ?? null),
    }
    return toOwnRide(head, samples)
  }

  function pause(): void {
    catchUp()
    if (phase.value !== 'riding') return
    clock.pause(performance.now())
    phase.value = 'paused'
  }

  function resume(): void {
    if (phase.value !== 'paused') return
    clock.start(performance.now())
    phase.value = 'riding'
  }

  /** Ends the ride before its last second. The seconds so far are sent. */
  function giveUp(): void {
    catchUp()
    if (racing.value) {
      sender?.end()
      if (ride.samples.length > 0) keep(asOwnRide(true))
    }
    clear()
    phase.value = 'ready'
  }

  // The cause of a failed start may be over.
  watch(reachable, (isReachable) => {
    if (isReachable) failure.value = null
  })
  watch([rider, phase], () => {
    if (phase.value === 'ready') identity.value = { ...rider.value }
  })
  // The rider of the ride under way has a new name.
  watchDebounced(
    rider,
    (now) => {
      if (racing.value && now.racerId === identity.value.racerId) identity.value = { ...now }
    },
    { debounce: RENAME_MS },
  )
  watch(speed, (value) => clock.setSpeed(value, performance.now()))
  // Only a ride that is not sent can become practice.
  watch(isPractice, (value) => {
    if (value && racing.value) practice.value = true
  })
  onScopeDispose(giveUp)

  return {
    phase,
    racing,
    loaded,
    failure: computed(
      () => failure.value ?? (phase.value === 'riding' ? live.boardFailure.value : null),
    ),
    cadence,
    resistance,
    auto,
    speed,
    second,
    source,
    board: live.board,
    boardSecond: live.boardSecond,
    asOfStart: live.asOfStart,
    samples,
    sample,
    outputNow,
    raceId,
    identity,
    practice,
    isUnsent,
    isCounted,
    delivery,
    start,
    pause,
    resume,
    giveUp,
  }
}

export type RaceOnPage = ReturnType<typeof useRace>
