//! Numbered disasters: real sheep, real clients, real signals.
//!
//! Way: each file is one subject; the number in its name is its place in a full run. Sizes come
//!      from the environment: `SHEEPDOG_ROUNDS` (kills of a client's own sheep, 100).
//!      `SHEEPDOG_BIN` names the folder of the tested programs, `SHEEPDOG_QEMU52` that of QEMU 5.2.

mod t01_every_face;
