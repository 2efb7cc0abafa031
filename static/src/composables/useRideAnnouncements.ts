/** The ride in words for screen readers: twice a minute, at the start of a run of records, and at changes. */
import { ref, watch } from 'vue'

import { countText, ordinal } from '../format'
import { minutes } from '../race/clock'
import { gapInWords } from '../race/pacer'
import type { Sample } from '../race/ride'
import type { PacerOnPage } from './usePacer'
import type { RaceOnPage } from './useRace'

/** Race time between announcements, in seconds. */
const INTERVAL_S = 30

export function useRideAnnouncements(
  { phase, second, sample, samples }: RaceOnPage,
  { gapAt, label }: PacerOnPage,
) {
  const announcement = ref('')
  watch(second, (at) => {
    const last = sample.value
    if (!last) return
    const before = samples.value.at(-2)
    // One second late: the rank of that second is known by then, unless the service is slow.
    if (before && (at - 1) % INTERVAL_S === 0) {
      announcement.value = summaryOf(before)
    } else if (last.best !== null && last.record && before && !before.record) {
      announcement.value = `Personal record at ${minutes(at)}.`
    }
  })

  function summaryOf(ridden: Sample): string {
    const { rank, total } = ridden
    const place = rank === null || total === null ? '' : `, ${ordinal(rank)} of ${countText(total)}`
    const gap = gapAt(ridden)
    const pace = gap === null ? '' : `, ${gapInWords(gap, label.value)}`
    return `${minutes(ridden.second)}: output ${Math.round(ridden.output)}${place}${pace}.`
  }

  // Called after the watch above: these words replace those of the last second.
  watch(phase, (now, before) => {
    if (now === 'riding') announcement.value = 'Riding.'
    else if (now === 'paused') announcement.value = 'Paused.'
    else if (now === 'done') announcement.value = 'Finished. Your result is below.'
    else if (now === 'ready' && before !== 'loading') announcement.value = 'You gave up.'
  })
  return announcement
}
