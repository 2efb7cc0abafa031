/** The new personal bests of a class, as they fall. */
import { onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'

import type { NewBests } from '../api/client'
import { listen } from '../api/live'
import { sentence, worthShowing, type Fallen } from '../race/bests'
import { learn, nameOf } from './names'

/** How many are shown. */
const SHOWN_MAX = 6

/** From one that is said to the next, in milliseconds: a screen reader needs as long to say it. */
const SAY_MS = 5000

/** `recordAt` has the class record at a second, as far as it is known. */
export function useBests(classId: Ref<number>, recordAt: (second: number) => number | null) {
  /** The latest, with a number of their own each. */
  const latest = shallowRef<(Fallen & { id: number })[]>([])
  /** How many fell since somebody looks. */
  const count = ref(0)
  /** One of them in words, now and then. */
  const said = ref('')
  let leave: (() => void) | null = null
  let timer: ReturnType<typeof setTimeout> | undefined
  let next: Fallen | null = null
  let id = 0

  function take(pushed: NewBests): void {
    learn(pushed.bests)
    count.value += pushed.count
    const shown = worthShowing(pushed.bests, recordAt, SHOWN_MAX).map((best) => ({
      ...best,
      id: id++,
    }))
    latest.value = [...shown, ...latest.value].slice(0, SHOWN_MAX)
    const first = shown[0]
    if (first && (!next || first.isRecord || !next.isRecord)) next = first
    if (timer === undefined) say()
  }

  function say(): void {
    timer = undefined
    if (!next) return
    said.value = sentence(next, nameOf)
    next = null
    timer = setTimeout(say, SAY_MS)
  }

  function stop(): void {
    leave?.()
    clearTimeout(timer)
    timer = undefined
    next = null
  }

  watch(
    classId,
    (classId) => {
      stop()
      latest.value = []
      count.value = 0
      said.value = ''
      leave = listen(classId, { bests: take })
    },
    { immediate: true },
  )
  onScopeDispose(stop)
  return { latest, count, said }
}
