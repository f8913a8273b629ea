// Replays a recorded list of calls, once or in a loop; see `posterity/infer/replay.py`.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

namespace {

constexpr std::size_t kMostArguments = 128;

constexpr std::size_t kMostOperands = 16;

// How a function is called: with pointers alone, where a kernel throws and one of torch's C functions returns an error
// code; with two numbers after the pointers; or through torch's dispatcher.
enum Kind : int64_t { kKernel = 0, kOperation = 1, kOperationWithNumbers = 2, kDispatched = 3 };

struct Call {
  void* function;
  int64_t kind;
  int64_t count;
  void* const* arguments;
  double numbers[2];
};

// The arguments of `kDispatched`: the function is `aoti_torch_call_dispatcher`.
struct Dispatched {
  const char* name;
  const char* overload;
  int32_t (*copy_handle)(void*, void**);
  int32_t (*free_handle)(void*);
  int64_t num_returns;
  int64_t num_operands;
  uint64_t tensors;  // which of the operands are, bit by bit
  uint64_t operands[kMostOperands];
};

struct Context {
  const Call* calls;
  int64_t count;
  char message[512];
};

// A row of one tensor that is copied into a row of another.
struct Move {
  char* destination;
  const char* source;
  int64_t size;
  int64_t destination_stride;
  int64_t source_stride;
};

template <std::size_t>
using Pointer = void*;

template <typename Result, std::size_t... I>
Result invoke(void* function, void* const* arguments, std::index_sequence<I...>) {
  return reinterpret_cast<Result (*)(Pointer<I>...)>(function)(arguments[I]...);
}

template <typename Result, std::size_t N>
Result invoke_with(void* function, void* const* arguments) {
  return invoke<Result>(function, arguments, std::make_index_sequence<N>{});
}

template <typename Result>
using Invoke = Result (*)(void*, void* const*);

template <typename Result, std::size_t... N>
Invoke<Result> choose(std::size_t count, std::index_sequence<N...>) {
  static constexpr Invoke<Result> table[] = {invoke_with<Result, N>...};
  return table[count];
}

// The dispatcher takes the operands' handles over, and gives those of what is returned.
bool dispatch(const Call& call) {
  auto given = reinterpret_cast<const Dispatched*>(call.arguments);
  uint64_t stack[kMostOperands];
  for (int64_t i = 0; i < given->num_operands; ++i) {
    stack[i] = given->operands[i];
    if (given->tensors >> i & 1) {
      void* handle = nullptr;
      if (given->copy_handle(reinterpret_cast<void*>(stack[i]), &handle) != 0) return false;
      stack[i] = reinterpret_cast<uint64_t>(handle);
    }
  }
  auto function = reinterpret_cast<int32_t (*)(const char*, const char*, uint64_t*)>(call.function);
  if (function(given->name, given->overload, stack) != 0) return false;
  for (int64_t i = 0; i < given->num_returns; ++i) given->free_handle(reinterpret_cast<void*>(stack[i]));
  return true;
}

void run(const Call& call) {
  switch (call.kind) {
    case kKernel:
      choose<void>(call.count, std::make_index_sequence<kMostArguments + 1>{})(call.function, call.arguments);
      return;
    case kOperation:
      if (choose<int32_t>(call.count, std::make_index_sequence<5>{})(call.function, call.arguments) != 0) break;
      return;
    case kOperationWithNumbers: {
      auto function = reinterpret_cast<int32_t (*)(void*, void*, void*, void*, double, double)>(call.function);
      void* const* given = call.arguments;
      if (function(given[0], given[1], given[2], given[3], call.numbers[0], call.numbers[1]) != 0) break;
      return;
    }
    case kDispatched:
      if (!dispatch(call)) break;
      return;
  }
  throw std::runtime_error("an operation refused its arguments");
}

void copy(const Move* moves, int64_t count, int64_t row) {
  for (const Move* move = moves; move != moves + count; ++move) {
    std::memmove(
        move->destination + row * move->destination_stride, move->source + row * move->source_stride, move->size);
  }
}

}  // namespace

extern "C" {

// One replay; not 0 where a call failed, and the message says why.
int32_t replay(void* context) {
  auto own = static_cast<Context*>(context);
  own->message[0] = 0;
  try {
    for (const Call* call = own->calls; call != own->calls + own->count; ++call) run(*call);
  } catch (const std::exception& error) {
    std::snprintf(own->message, sizeof own->message, "%s", error.what());
    return 1;
  } catch (...) {
    std::snprintf(own->message, sizeof own->message, "unknown error");
    return 1;
  }
  return 0;
}

// `number` replays with copies before and after each; how many of them went well.
int64_t replay_loop(
    void* context, int64_t number, const Move* before, int64_t num_before, const Move* after, int64_t num_after) {
  for (int64_t row = 0; row < number; ++row) {
    copy(before, num_before, row);
    if (replay(context) != 0) return row;
    copy(after, num_after, row);
  }
  return number;
}

}  // extern "C"
