// The browser's tests. With a word, those whose names have it.

import "./shop.mjs";
import "./cluster.mjs";
import "./faults.mjs";
import "./lessons.mjs";
import "./trace.mjs";
import "./views.mjs";
import "./assistive.mjs";
import { runTests } from "./support.mjs";

process.exitCode = (await runTests(process.argv[2])) ? 0 : 1;
