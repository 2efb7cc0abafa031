/** Requests to the service: key, timeout and errors. */
import { queryKey } from './key'

/**
 * A failed request. `away`: no complete response; `unready`: the service is starting, stopping or overloaded, or something
 * before it, such as a firewall, responded in its place; `locked`: it requires a key; `missing`: not found; `refused`: the
 * service says that the request itself is at fault.
 */
export class ApiError extends Error {
  constructor(
    readonly kind: 'away' | 'unready' | 'locked' | 'missing' | 'refused',
    message: string,
  ) {
    super(message)
  }
}

/** Returns whether the request itself is at fault: one with a cursor of another list, for example. */
export function isRefused(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'refused'
}

/** Returns whether the same request may succeed later; `locked`, once there is a key. */
export function mayPass(error: unknown): boolean {
  return !(error instanceof ApiError) || !['missing', 'refused'].includes(error.kind)
}

/** Returns the text of an error for the page; `otherwise` for one that is not ours. */
export function messageOf(error: unknown, otherwise: string): string {
  return error instanceof ApiError ? error.message : otherwise
}

/** Maximum time of a request, in milliseconds. */
const TIMEOUT_MS = 10_000

/** Statuses below 500 that ask for a retry: request timeout, too many requests. */
const RETRY_STATUSES = [408, 429]

/** The type of the service's error responses (RFC 9457). What stands before it, such as a proxy, sends other types. */
const PROBLEM_TYPE = 'application/problem+json'

/**
 * Sends a request, with the key if there is one. The response is complete: its body has arrived. The signal of a `Request`
 * stands beside the timeout.
 */
export async function request(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const response = await requestStream(input, init)
  const { status, statusText, headers } = response
  const body = await arrived(response.arrayBuffer())
  return new Response(body, { status, statusText, headers })
}

/**
 * Sends a request as `request` does. The response is there before its body. The timeout is for both; a signal in `init`
 * replaces it.
 */
export async function requestStream(
  input: RequestInfo | URL,
  init?: RequestInit,
): Promise<Response> {
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : {}))
  if (queryKey.value !== null) headers.set('authorization', `Bearer ${queryKey.value}`)
  const aborted = input instanceof Request ? [input.signal] : []
  const signal = init?.signal ?? AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), ...aborted])
  const response = await arrived(fetch(input, { ...init, headers, signal }))
  if (response.ok) return response
  const problem = (await response.json().catch(() => null)) as { detail?: string } | null
  const kind = kindOf(response)
  const detail = problem?.detail ?? `The service responded with status ${response.status}.`
  // The service's own words name an HTTP header.
  throw new ApiError(kind, kind === 'locked' ? 'The service requires a key.' : detail)
}

/** Waits for a response or for its body. One that is cut or late is an error like no response. */
export async function arrived<T>(awaited: Promise<T>): Promise<T> {
  try {
    return await awaited
  } catch {
    throw new ApiError('away', 'The service does not respond.')
  }
}

function kindOf({ status, headers }: Response): ApiError['kind'] {
  const isOwn = headers.get('content-type')?.startsWith(PROBLEM_TYPE)
  if (!isOwn || status >= 500 || RETRY_STATUSES.includes(status)) return 'unready'
  if (status === 401) return 'locked'
  return status === 404 ? 'missing' : 'refused'
}
