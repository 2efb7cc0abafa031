/** Parts that are loaded after the first view, or when they are shown before that. */
import { defineAsyncComponent, type AsyncComponentLoader, type Component } from 'vue'

import { hasFailedPart } from '../router'

/** Functions that load the scripts of these parts. */
export const partLoaders: (() => Promise<unknown>)[] = []

function lazy<T extends Component>(loader: AsyncComponentLoader<T>) {
  partLoaders.push(loader)
  return defineAsyncComponent({
    loader,
    onError: (_error, _retry, fail) => {
      // The notice at the top loads the page again. Until then some browsers do not request the script again.
      hasFailedPart.value = true
      fail()
    },
  })
}

export const LazyCurves = lazy(() => import('./Curves.vue'))
export const LazyKeyForm = lazy(() => import('./KeyForm.vue'))
export const LazyNotFoundView = lazy(() => import('../views/NotFoundView.vue'))
export const LazyRacerSearch = lazy(() => import('./RacerSearch.vue'))
