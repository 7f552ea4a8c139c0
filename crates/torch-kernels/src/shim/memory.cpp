#include "memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <cxxabi.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <typeinfo>

namespace ossify {
namespace {

constexpr size_t ALIGNMENT = 64;

// What malloc gave is noted before the data.
void release(void* data) {
  if (data != nullptr) std::free(static_cast<void**>(data)[-1]);
}

struct PlainMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &release, device};
    void* start = bytes <= SIZE_MAX - ALIGNMENT ? std::malloc(bytes + ALIGNMENT) : nullptr;
    TORCH_CHECK_WITH(OutOfMemoryError, start != nullptr, "can't allocate memory: ", bytes,
                     " bytes were asked for");
    // An address of malloc is a multiple of 16, so that at least 16 bytes lie before the next
    // multiple of ALIGNMENT.
    void* data =
        reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(start) / ALIGNMENT + 1) * ALIGNMENT);
    static_cast<void**>(data)[-1] = start;
    return {data, data, &release, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

std::terminate_handler other_reasons = nullptr;

[[noreturn]] void explain() {
  static constexpr char TEXT[] =
      "error: out of memory: libtorch could not go on; lower what is worked on at a time, or allow "
      "the process more (`ulimit -v`, or the limit of the container or of the job)\n";
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type != nullptr &&
      (*type == typeid(std::bad_alloc) || *type == typeid(c10::OutOfMemoryError))) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, TEXT, sizeof(TEXT) - 1);
    _exit(1);
  }
  if (other_reasons != nullptr) other_reasons();
  std::abort();
}

}  // namespace

void take_plain_memory() {
  static PlainMemory memory;
  c10::SetCPUAllocator(&memory, /*priority=*/1);
}

void explain_lack_of_memory() { other_reasons = std::set_terminate(explain); }

}  // namespace ossify
