// The toys as pictures, each built of a few plain shapes.
//
// Classes are the fills and lines of the style sheet: r, y, b, g, o, k (red, yellow, blue, green,
// wood, ink), w (sheet), t (skin); with `-l` a line of that colour.

import { s } from "./dom.js";

const SIZE = 64;

const circle = (kind, cx, cy, r) => s("circle", { class: kind, cx, cy, r });
const oval = (kind, cx, cy, rx, ry, turn = 0) =>
  s("ellipse", { class: kind, cx, cy, rx, ry, transform: turn ? `rotate(${turn} ${cx} ${cy})` : null });
const box = (kind, x, y, width, height, rx = 0) => s("rect", { class: kind, x, y, width, height, rx });
const path = (kind, d) => s("path", { class: kind, d });
const range = (from, to, step = 1) =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, place) => from + place * step);

const PICTURES = {
  Tux: () => [
    oval("y", 23, 57, 9, 4),
    oval("y", 41, 57, 9, 4),
    path("k", "M32 4c9 0 13 7 13 15 0 6 6 13 6 23 0 10-8 15-19 15S13 52 13 42c0-10 6-17 6-23 0-8 4-15 13-15z"),
    oval("w", 32, 42, 12, 14),
    circle("w", 27, 17, 4),
    circle("w", 37, 17, 4),
    circle("k", 28, 18, 1.7),
    circle("k", 36, 18, 1.7),
    path("y", "M25 23h14l-7 7z"),
  ],
  Barbie: () => [
    path("y", "M21 16a11 12 0 0 1 22 0v13H21z"),
    box("t", 29, 22, 6, 10),
    circle("t", 32, 17, 7.5),
    path("y", "M23 15a9 8 0 0 1 18 0c-6 0-10-3-12-5-1 3-3 5-6 5z"),
    path("r", "M26 29h12l3 10 9 19H14l9-19z"),
    box("k", 24, 37, 16, 3),
    box("t", 26, 58, 4, 5),
    box("t", 34, 58, 4, 5),
  ],
  "Crayola Crayons": () => [
    ...["r", "y", "b"].flatMap((kind, place) => {
      const x = 9 + 16 * place;
      const y = [14, 6, 18][place];
      return [
        path(kind, `M${x} ${y + 12}l4.5-11h5l4.5 11z`),
        box(kind, x, y + 12, 14, 46 - y),
        box("k", x, y + 16, 14, 3),
      ];
    }),
    path("g", "M4 38h56v22H4z"),
    path("w", "M18 49a14 6 0 0 1 28 0 14 6 0 0 1-28 0z"),
  ],
  Dollhouse: () => [
    box("y", 10, 28, 44, 32),
    path("r", "M32 4 60 29H4z"),
    box("r", 44, 8, 7, 12),
    box("b", 16, 34, 11, 10),
    box("b", 37, 34, 11, 10),
    box("k", 27, 46, 10, 14),
    circle("w", 32, 20, 4.5),
    circle("y", 34.5, 53, 1.2),
  ],
  "Erector Set": () => [
    path("b", "M8 50 50 8l7 7-42 42z"),
    path("r", "M15 8 57 50l-7 7L8 15z"),
    ...range(0, 4).flatMap((place) => [
      circle("w", 15 + 8.6 * place, 50 - 8.6 * place, 2),
      circle("w", 15 + 8.6 * place, 15 + 8.6 * place, 2),
    ]),
    circle("y", 32.5, 32.5, 6),
    path("k-l", "M29.5 29.5l6 6"),
  ],
  "Etch A Sketch": () => [
    box("r", 5, 8, 54, 48, 6),
    box("w", 12, 14, 40, 28, 2),
    path("k-l", "M17 37h8v-7h8v-7h8v-5h6"),
    circle("w", 14, 49, 4.5),
    circle("w", 50, 49, 4.5),
  ],
  Frisbee: () => [
    oval("b", 34, 30, 26, 14, -14),
    oval("w", 34, 28, 17, 8, -14),
    oval("r", 34, 27.5, 9, 4, -14),
    path("k-l", "M6 50h18M12 57h14"),
  ],
  "Hula Hoop": () => [
    oval("r-l wide", 32, 32, 25, 25),
    ...range(0, 5).map((place) =>
      s("path", { class: "y-l wide", d: "M25 7.9a25 25 0 0 1 14 0", transform: `rotate(${60 * place} 32 32)` }),
    ),
  ],
  "Jigsaw Puzzle": () => [
    path(
      "b",
      "M8 18h15c-3-4-2-12 6-12s9 8 6 12h14v14c5-3 11-1 11 6s-6 9-11 6v14H35c3-5 1-10-6-10s-9 5-6 10H8V44c5 3 10 1 10-6s-5-9-10-6z",
    ),
  ],
  LEGO: () => [
    box("y", 10, 14, 12, 10, 2),
    box("y", 26, 14, 12, 10, 2),
    box("y", 42, 14, 12, 10, 2),
    box("y", 4, 22, 56, 30, 2),
    path("o", "M4 44h56v6a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z"),
  ],
  "Lincoln Logs": () => [
    ...[14, 32, 50].map((y) => box("o", 4, y, 56, 10, 5)),
    ...[23, 41].flatMap((y) => [box("t", 12, y, 10, 10, 5), box("t", 42, y, 10, 10, 5)]),
    ...[14, 32, 50].flatMap((y) => [circle("t", 9, y + 5, 3), circle("t", 55, y + 5, 3)]),
  ],
  Monopoly: () => [
    oval("k", 32, 50, 29, 8),
    path("k", "M17 12a15 5 0 0 1 30 0l3 36a18 6 0 0 1-36 0z"),
    path("r", "M15.4 36.500a17 5.500 0 0 0 33.300 0l.8 8.500a18 6 0 0 1-35 0z"),
    oval("b", 32, 12, 14, 4),
  ],
  "Play-Doh": () => [
    box("y", 12, 24, 40, 36, 4),
    box("r", 9, 14, 46, 12, 4),
    path("w", "M12 36h40v14H12z"),
    circle("b", 24, 43, 4.5),
    box("r", 30, 38.5, 9, 9),
    path("g", "M46 38l5 9H41z"),
    oval("b", 32, 10, 12, 6),
  ],
  "Rubik's Cube": () => [
    box("k", 6, 6, 52, 52, 6),
    ...["r", "y", "w", "b", "g", "r", "y", "b", "o"].map((kind, place) =>
      box(kind, 10 + 15.5 * (place % 3), 10 + 15.5 * Math.floor(place / 3), 13, 13, 2),
    ),
  ],
  Slinky: () => [
    ...range(0, 12).map((place) => {
      const angle = Math.PI * (1 - place / 12);
      const x = 32 + 18 * Math.cos(angle);
      const y = 52 - 34 * Math.sin(angle);
      const turn = 90 - (180 * place) / 12 + 90;
      return oval(place % 2 ? "b-l" : "k-l", x.toFixed(1), y.toFixed(1), 10, 4, turn);
    }),
  ],
  "Yo-Yo": () => [
    path("k-l", "M36 4c-8 8 4 14-4 22"),
    circle("k-l", 36, 5, 3),
    circle("r", 32, 40, 21),
    circle("y", 32, 40, 13),
    path("b", "M32 30l8.700 15H23.300z"),
  ],
};

/** The picture of a toy; for one that this page does not know, a block with its first letter. */
export function picture(name) {
  const shapes = PICTURES[name]?.() ?? [
    box("w", 8, 8, 48, 48, 5),
    s("rect", { class: "b-l", x: 12, y: 12, width: 40, height: 40, rx: 2 }),
    s("text", { class: "letter", x: 32, y: 43, "text-anchor": "middle" }, (Array.from(name)[0] ?? "?").toUpperCase()),
  ];
  return s("svg", { class: "picture", viewBox: `0 0 ${SIZE} ${SIZE}`, "aria-hidden": "true" }, shapes);
}
