// Memory for tensors on the processor.
#pragma once

namespace ossify {

// From now on libtorch takes plain memory of malloc and aligns it by itself. glibc's
// posix_memalign, which it takes otherwise, looks for more than it then uses, and what is freed
// does not serve a request of the same size again: memory grows at each step to twice what is in
// use.
void take_plain_memory();

}  // namespace ossify
