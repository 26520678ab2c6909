/**
 * Writes protobufjs's types as the descriptors that protoc would write, file by file. protobufjs's own are not enough for
 * reflection clients: they lump files together, name no imports, and lose `optional` and the names of map entries.
 */
import protobuf from "protobufjs";
import descriptor from "protobufjs/ext/descriptor/index.js";

type Descriptor = Record<string, unknown>;
type TopLevel = protobuf.Type | protobuf.Enum | protobuf.Service | protobuf.Field;

const SCALARS: Record<string, number> = {
  double: 1,
  float: 2,
  int64: 3,
  uint64: 4,
  int32: 5,
  fixed64: 6,
  fixed32: 7,
  bool: 8,
  string: 9,
  bytes: 12,
  uint32: 13,
  sfixed32: 15,
  sfixed64: 16,
  sint32: 17,
  sint64: 18,
};
const TYPE_MESSAGE = 11;
const TYPE_ENUM = 14;
const LABEL = { optional: 1, required: 2, repeated: 3 };

/** The serialized FileDescriptorProto of every file that holds a type or a service, by the file's import name. */
export function fileDescriptors(root: protobuf.Root): Map<string, Buffer> {
  const files = Map.groupBy(topLevel(root), (object) => object.filename ?? "");
  return new Map([...files].map(([name, objects]) => [name, encode(describeFile(name, objects))]));
}

function* topLevel(namespace: protobuf.NamespaceBase): Generator<TopLevel> {
  for (const object of namespace.nestedArray) {
    if (isTopLevel(object)) yield object;
    else if (object instanceof protobuf.Namespace) yield* topLevel(object);
  }
}

function isTopLevel(object: protobuf.ReflectionObject): object is TopLevel {
  return [protobuf.Type, protobuf.Enum, protobuf.Service, protobuf.Field].some((kind) => object instanceof kind);
}

function describeFile(name: string, objects: TopLevel[]): Descriptor {
  const used = new Set<string>();
  const refer = (type: protobuf.ReflectionObject): string => {
    const file = fileOf(type);
    if (file !== name) used.add(file);
    return type.fullName;
  };
  const described = {
    name,
    package: objects[0]!.parent!.fullName.slice(1),
    messageType: objects.filter((one) => one instanceof protobuf.Type).map((type) => describeType(type, refer)),
    enumType: objects.filter((one) => one instanceof protobuf.Enum).map(describeEnum),
    service: objects.filter((one) => one instanceof protobuf.Service).map((one) => describeService(one, refer)),
    extension: objects.filter((one) => one instanceof protobuf.Field).map((one) => describeExtension(one, refer)),
    syntax: isProto2(objects[0]!) ? undefined : "proto3",
  };
  return { ...described, dependency: [...used] };
}

type Refer = (type: protobuf.ReflectionObject) => string;

function describeType(type: protobuf.Type, refer: Refer): Descriptor {
  // protobufjs adds to a message the fields that extend it.
  const fields = type.fieldsArray.filter((field) => !field.declaringField);
  const maps = fields.filter((field) => field instanceof protobuf.MapField);
  // protoc puts the oneofs that stand for a single `optional` field behind the others.
  const oneofs = type.oneofsArray.toSorted((a, b) => Number(isSynthetic(a)) - Number(isSynthetic(b)));
  const nested = type.nestedArray;
  return {
    name: type.name,
    field: fields.map((field) => describeField(field, oneofs, refer)),
    nestedType: [
      ...maps.map((field) => describeMapEntry(field, refer)),
      ...nested.filter((one) => one instanceof protobuf.Type).map((one) => describeType(one, refer)),
    ],
    enumType: nested.filter((one) => one instanceof protobuf.Enum).map(describeEnum),
    oneofDecl: oneofs.map(({ name }) => ({ name })),
    // protobufjs's end is the last number, a descriptor's the one after it.
    extensionRange: type.extensions?.map(([start, end]) => ({ start, end: end! + 1 })),
  };
}

function describeField(field: protobuf.Field, oneofs: protobuf.OneOf[], refer: Refer): Descriptor {
  const isMap = field instanceof protobuf.MapField;
  return {
    name: field.name,
    number: field.id,
    label: field.repeated || isMap ? LABEL.repeated : field.required ? LABEL.required : LABEL.optional,
    ...(isMap
      ? { type: TYPE_MESSAGE, typeName: `${field.parent!.fullName}.${entryName(field)}` }
      : describeValue(field, refer)),
    ...(field.partOf && { oneofIndex: oneofs.indexOf(field.partOf) }),
    ...(field.partOf && isSynthetic(field.partOf) && { proto3Optional: true }),
    jsonName: field.name.replace(/_+(.)/g, (_, letter: string) => letter.toUpperCase()),
  };
}

function describeExtension(field: protobuf.Field, refer: Refer): Descriptor {
  const extended = field.extensionField?.parent;
  return { ...describeField(field, [], refer), extendee: extended ? refer(extended) : field.extend };
}

interface Value {
  type: string;
  resolvedType: protobuf.Type | protobuf.Enum | null;
}

function describeValue({ type, resolvedType }: Value, refer: Refer): Descriptor {
  if (!resolvedType) return { type: SCALARS[type] };
  return { type: resolvedType instanceof protobuf.Enum ? TYPE_ENUM : TYPE_MESSAGE, typeName: refer(resolvedType) };
}

function describeMapEntry(field: protobuf.MapField, refer: Refer): Descriptor {
  const key = { name: "key", jsonName: "key", number: 1, label: LABEL.optional, type: SCALARS[field.keyType] };
  const value = { name: "value", jsonName: "value", number: 2, label: LABEL.optional, ...describeValue(field, refer) };
  return { name: entryName(field), field: [key, value], options: { mapEntry: true } };
}

function describeEnum({ name, values, options }: protobuf.Enum): Descriptor {
  return {
    name,
    value: Object.entries(values).map(([valueName, number]) => ({ name: valueName, number })),
    options: options?.["allow_alias"] ? { allowAlias: true } : undefined,
  };
}

function describeService({ name, methodsArray }: protobuf.Service, refer: Refer): Descriptor {
  const method = methodsArray.map((one) => ({
    name: one.name,
    inputType: refer(one.resolvedRequestType!),
    outputType: refer(one.resolvedResponseType!),
    clientStreaming: one.requestStream,
    serverStreaming: one.responseStream,
  }));
  return { name, method };
}

/** As protoc names the message that stands for an entry of a map. */
function entryName({ name }: protobuf.MapField): string {
  return `${name.replace(/(?:^|_+)(.)/g, (_, letter: string) => letter.toUpperCase())}Entry`;
}

/** Whether the oneof stands for a single `optional` field. */
export function isSynthetic({ fieldsArray }: protobuf.OneOf): boolean {
  return fieldsArray.length === 1 && fieldsArray[0]!.options?.["proto3_optional"] === true;
}

function isProto2(object: TopLevel): boolean {
  return (object as unknown as { _edition: string | null })._edition === "proto2";
}

function fileOf(object: protobuf.ReflectionObject): string {
  const { parent } = object;
  const isNested = parent instanceof protobuf.Type;
  return isNested ? fileOf(parent) : (object.filename ?? "");
}

function encode(file: Descriptor): Buffer {
  const type = descriptor.FileDescriptorProto;
  return type.encode(type.fromObject(file)).finish() as Buffer;
}
