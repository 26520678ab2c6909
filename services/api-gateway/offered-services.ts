import type { ServiceBroker } from "moleculer";
import type { ErrorTemplate, GrpcBinding } from "../../mixins/grpc.mixin.ts";
import type { RestDeclaration } from "./rest-routes.ts";

/** What the registry knows of a service that some node offers now. */
export interface OfferedService {
  /** The first part of its actions' names. */
  fullName: string;
  grpc: GrpcBinding[];
  /** How the service words the errors of its REST paths. */
  restErrors?: ErrorTemplate;
  actions: { name: string; rest: RestDeclaration[] }[];
}

interface RegistryService {
  fullName: string;
  settings?: { grpc?: GrpcBinding[]; rest?: { errors?: ErrorTemplate } };
  actions: Record<string, { name: string; rest?: RestDeclaration | RestDeclaration[] | null }>;
}

/** Every offer of every service on a node that is there, so a service of two nodes twice. */
export function offeredServices(broker: ServiceBroker): OfferedService[] {
  const list = broker.registry.getServiceList({
    withActions: true,
    onlyAvailable: true,
    skipInternal: true,
  }) as unknown as RegistryService[];
  return list.map(({ fullName, settings, actions }) => ({
    fullName,
    grpc: settings?.grpc ?? [],
    restErrors: settings?.rest?.errors,
    actions: Object.values(actions).map(({ name, rest }) => ({ name, rest: [rest ?? []].flat() })),
  }));
}
