// A training run that saves a checkpoint after every epoch is killed by SIGKILL, again and again, at random moments,
// and goes on from its file each time. The file must be whole after every kill, and the same, to the bit, as that of
// the same epoch of a run that was never killed.

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

using namespace tapegrad;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kills = 50, most_epochs_each = 3;
constexpr std::int64_t epochs = kills * most_epochs_each + 5;

nn::Sequential<float> network() {
  nn::Sequential<float> model({nn::Dense{48, "relu"}, nn::BatchNorm{}, nn::Dropout{0.2}, nn::Dense{4, "softmax"}}, 7);
  model.compile({.optimizer = nn::Adam{.learning_rate = nn::warm_up(0.01, 100)}, .loss = "categorical_crossentropy"});
  return model;
}

/// Continues from the file, if there is one.
void train(const std::string& path, const std::vector<nn::Callback>& callbacks) {
  random::Generator rng(1);
  const Tensor<float> X = rng.normal<float>({512, 32}), y = one_hot<float>(argmax(slice(X, 1, 0, 4), -1), 4);
  nn::Sequential<float> model = network();
  if (fs::exists(path)) model.load(path);
  model.fit(X, y, {.epochs = epochs, .seed = 5, .initial_epoch = model.epochs_trained(), .callbacks = callbacks});
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  std::exit(1);
}

/// A process that trains, and tells of each epoch just before its checkpoint; killed `delay` after it has told of so
/// many epochs, or left to finish when that is 0. Whether it was killed.
bool run(const std::string& path, int told, Clock::duration delay) {
  int ends[2];
  require(pipe(ends) == 0, "pipe");
  const pid_t child = fork();
  require(child >= 0, "fork");
  if (child == 0) {
    close(ends[0]);
    const auto tell = [&](nn::Epoch&) {
      if (write(ends[1], "e", 1) != 1) std::abort();
    };
    try {
      train(path, {tell, nn::ModelCheckpoint{path}});
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
    _exit(0);
  }
  close(ends[1]);
  char byte;
  for (int k = 0; told == 0 || k < told; ++k) {
    if (read(ends[0], &byte, 1) != 1) break;
  }
  if (told > 0) {
    // It does not sleep, because sleeping is coarser than writing a file.
    const Clock::time_point moment = Clock::now() + delay;
    while (Clock::now() < moment) {
    }
    kill(child, SIGKILL);
  }
  close(ends[0]);
  int status = 0;
  require(waitpid(child, &status, 0) == child, "waitpid");
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  require(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "the training process failed");
  return killed;
}

std::size_t count_files(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

int main() {
  const fs::path folder = fs::temp_directory_path() / ("tapegrad_crash_" + std::to_string(getpid()));
  struct Remove {
    fs::path path;
    ~Remove() { fs::remove_all(path); }
  };
  fs::create_directories(folder / "reference");
  const Remove remove{folder};

  // The run that nobody kills: the file after each epoch, and the time that an epoch with its checkpoint takes.
  std::vector<std::string> expected;
  const std::string reference = (folder / "reference/m.npz").string();
  Clock::duration epoch_time{};
  {
    Clock::time_point last = Clock::now();
    train(reference, {[&](nn::Epoch& e) {
            e.save(reference);
            epoch_time += (Clock::now() - last) / epochs;
            expected.push_back(contents(reference));
            last = Clock::now();
          }});
  }

  const fs::path place = folder / "run";
  fs::create_directories(place);
  const std::string path = (place / "m.npz").string();
  random::Generator moments(2026);
  std::int64_t trained = 0;
  int within_a_write = 0;
  for (int k = 0; k < kills; ++k) {
    const int told = 1 + static_cast<int>(moments.below(most_epochs_each));
    const auto delay = std::chrono::duration_cast<Clock::duration>(epoch_time * moments.uniform());
    require(run(path, told, delay), "the process ended before it was killed");
    const std::string which = "kill " + std::to_string(k + 1) + ": ";
    const bool unfinished = count_files(place) > (fs::exists(path) ? 1 : 0);
    within_a_write += unfinished;
    require(count_files(place) <= 2, which + "unfinished files pile up");
    if (!fs::exists(path)) {
      require(trained == 0 && told == 1, which + "the file has gone");
      continue;
    }
    nn::Sequential<float> model = network();
    try {
      model.load(path);
    } catch (const Error& error) {
      require(false, which + "the file is broken: " + error.what());
    }
    require(model.epochs_trained() >= trained + told - 1, which + "an epoch that was saved is lost");
    trained = model.epochs_trained();
    require(contents(path) == expected[static_cast<std::size_t>(trained - 1)],
            which + "epoch " + std::to_string(trained) + " differs from that of the run that was not killed");
  }
  require(!run(path, 0, {}), "the last run was killed");
  require(contents(path) == expected.back(), "the end differs from that of the run that was not killed");
  require(count_files(place) == 1, "an unfinished file is left");
  // Their share depends on the machine and its load, so that none at all is no failure.
  std::printf("%d kills, %d of them (%d %%) while the checkpoint was being written; %lld epochs, the same to the bit\n",
              kills, within_a_write, 100 * within_a_write / kills, static_cast<long long>(epochs));
}
