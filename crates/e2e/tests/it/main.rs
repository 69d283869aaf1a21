//! Numbered disasters: real sheep, real clients, real signals.
//!
//! Way: each file is one subject; the number in its name is its place in a full run. Sizes come
//!      from the environment: `SHEEPDOG_ROUNDS` (kills of a client's own sheep, 100),
//!      `SHEEPDOG_CUTS` (power cuts of each recorded store, 12; 0 is after every sync).
//!      `SHEEPDOG_BIN` names the folder of the tested programs, `SHEEPDOG_QEMU52` that of QEMU 5.2.

mod t01_every_face;
mod t02_other_sheep_killed;
mod t03_own_sheep_restarted;
mod t04_own_sheep_lost;
mod t05_one_writer;
mod t06_real_image;
mod t07_nbd_tools;
mod t08_captures;
mod t09_power_and_orders;
mod t10_rot;
mod t11_shards_and_metrics;
mod t12_playground;
mod t13_catalogue;
mod t14_refused_starts;
mod t15_too_few_copies;
mod t16_scattered_rot;
mod t17_several_disks;
mod t18_recorder;
mod t19_kill_loop;
mod t20_full_disk;
mod t21_file_systems;
mod t22_node_away;
mod t23_links_cut;
mod t24_stopped;
mod t25_slow_links;
mod t26_real_guest;
mod t27_rebalancing;
mod t28_scrub;
mod t29_space;
mod t30_unlock;
mod t31_slow_disk;
