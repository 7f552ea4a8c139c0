// Memory for tensors on the processor.
#pragma once

namespace ossify {

// From now on libtorch takes plain memory of malloc and aligns it by itself. glibc's
// posix_memalign, which it takes otherwise, looks for more than it then uses, and what is freed
// does not serve a request of the same size again: memory grows at each step to twice what is in
// use.
void take_plain_memory();

// From now on an exception for lack of memory that nobody catches, as in a destructor, ends the
// process with a sentence and exit code 1, and not with a signal.
void explain_lack_of_memory();

}  // namespace ossify
