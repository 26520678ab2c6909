/** A google.protobuf.Struct as protobufjs reads it. */
export interface Struct {
  fields?: Record<string, Value>;
}

interface Value {
  numberValue?: number;
  stringValue?: string;
  boolValue?: boolean;
  structValue?: Struct;
  listValue?: { values?: Value[] };
}

/** The JSON object that it stands for. */
export function structJson({ fields = {} }: Struct): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, valueJson(value)]));
}

function valueJson({ numberValue, stringValue, boolValue, structValue, listValue }: Value): unknown {
  if (structValue) return structJson(structValue);
  if (listValue) return (listValue.values ?? []).map(valueJson);
  return numberValue ?? stringValue ?? boolValue ?? null;
}
