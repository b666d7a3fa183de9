// Names that a page must show as text: markup, text that runs from right to left, and a name without an end.

export const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  'invoice\u202egnp.exe',
  'a_very::long::path<With, Generics<Of<Deep, Depth>>>::'.repeat(190),
  '</td><script>alert(3)</script>',
];
