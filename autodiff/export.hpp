#pragma once

#define TAPEGRAD_EXPORT __attribute__((visibility("default")))
