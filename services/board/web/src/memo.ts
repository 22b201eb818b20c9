import { Component, h, type ComponentType, type VNode } from "preact";

// memo draws a component again only when its properties changed. It is here so
// that Preact's compatibility layer, which has it, need not be.
export function memo<P extends object>(inner: (props: P) => VNode | null, same: (a: P, b: P) => boolean): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      return !same(this.props as P, next);
    }
    render(): VNode {
      return h(inner as ComponentType<object>, this.props);
    }
  };
}
