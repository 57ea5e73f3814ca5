// What the core's shared library offers to others; everything else is hidden.
#pragma once

#define GRU_API __attribute__((visibility("default")))
