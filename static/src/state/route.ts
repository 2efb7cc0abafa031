/** Where the page is: `#/`, `#/ride/1`, `#/explore/1`. */
import { computed, ref } from 'vue'

export type View = 'choose' | 'ride' | 'explore'

function parse(hash: string): { view: View; classId: number } {
  const [, view, classId] = /^#\/(ride|explore)(?:\/(\d+))?$/.exec(hash) ?? []
  return { view: (view as View | undefined) ?? 'choose', classId: Number(classId ?? lastClass()) }
}

const KEY = 'alleycat.class'

function lastClass(): number {
  try {
    return Number(localStorage.getItem(KEY)) || 1
  } catch {
    return 1
  }
}

export function keepClass(classId: number): void {
  try {
    localStorage.setItem(KEY, String(classId))
  } catch {
    // Then the page forgets.
  }
}

const hash = ref(location.hash)
addEventListener('hashchange', () => (hash.value = location.hash))

export const route = computed(() => parse(hash.value))

export function pathTo(view: View, classId: number): string {
  return view === 'choose' ? '#/' : `#/${view}/${classId}`
}
