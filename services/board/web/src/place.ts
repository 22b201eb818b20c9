// A browser has six connections to one server for all of its tabs together, and a
// stream of events keeps one for good. So the tabs of both boards share few places
// for streams; who has none asks now and then instead. Locks are there on secure
// pages only: without them every tab has a place.

const places = 3;

// place takes a place that is free and gives what gives it back, or undefined.
export async function place(): Promise<(() => void) | undefined> {
  if (!navigator.locks) return () => undefined;
  for (let i = 0; i < places; i++) {
    const leave = await new Promise<(() => void) | undefined>((tell) => {
      navigator.locks.request(`stream-${i}`, { ifAvailable: true }, (lock) => {
        if (!lock) return tell(undefined);
        return new Promise<void>((leave) => tell(leave));
      }).catch(() => tell(undefined));
    });
    if (leave) return leave;
  }
  return undefined;
}
