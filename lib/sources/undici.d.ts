/** Parts of undici without its index, which gives dispatchers the methods of its API. */
declare module "undici/lib/dispatcher/agent.js" {
  import type { Agent } from "undici";

  const BareAgent: new (options: Agent.Options) => Pick<Agent, "dispatch" | "destroy">;
  export default BareAgent;
}

declare module "undici/lib/core/connect.js" {
  export { buildConnector as default } from "undici";
}
