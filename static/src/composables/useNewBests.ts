/** The new personal bests of a class, as they are ridden. */
import { onScopeDispose, ref, shallowRef } from 'vue'

import type { NewBests } from '../api/client'
import type { Effort } from '../race/dataset'
import { sentence, worthShowing, type ShownBest } from '../race/new-bests'
import { applyNames, nameOf } from '../state/names'

/** Number of bests that are shown. */
const SHOWN_MAX = 6

/** Interval between announcements, in milliseconds: a screen reader needs this time to read one. */
const ANNOUNCE_MS = 5000

/** `classRecordAt` returns the class record at a second, or null. */
export function useNewBests(classRecordAt: (second: number) => Effort | null) {
  /** The latest, each with a number of its own. */
  const latest = shallowRef<(ShownBest & { id: number })[]>([])
  /** Number of bests that were pushed. Those during a lost connection, or while the page was hidden, were not. */
  const count = ref(0)
  /** One of them in words, now and then. */
  const announcement = ref('')
  let timer: ReturnType<typeof setTimeout> | undefined
  let next: ShownBest | null = null
  let id = 0

  function show(pushed: NewBests): void {
    applyNames(pushed.bests)
    count.value += pushed.count
    const bests = worthShowing(pushed.bests, classRecordAt, SHOWN_MAX)
    const shown = bests.map((best) => ({ ...best, id: id++ }))
    latest.value = [...shown, ...latest.value].slice(0, SHOWN_MAX)
    const first = shown[0]
    if (first && (!next || first.isClassRecord || !next.isClassRecord)) next = first
    if (timer === undefined) announce()
  }

  function announce(): void {
    timer = undefined
    if (!next) return
    announcement.value = sentence(next, nameOf)
    next = null
    timer = setTimeout(announce, ANNOUNCE_MS)
  }

  onScopeDispose(() => clearTimeout(timer))
  return { latest, count, announcement, show }
}

export type NewBestsOnPage = ReturnType<typeof useNewBests>
