#pragma once
// MNIST and data sets in the same format.
//
//     auto [train, test] = nn::load_mnist<float>("/usr/share/datasets/fashion-mnist", 255);   // pixels in 0..1
//     train.X.shape() == Shape{60000, 28, 28};  train.y.shape() == Shape{60000};
//     Tensor<float> images = nn::read_idx<float>("train-images-idx3-ubyte.gz");               // pixels in 0..255
//     Tensor<std::int64_t> labels = nn::read_idx<std::int64_t>("train-labels-idx1-ubyte.gz");

#include <string>

#include "../../autodiff/tensor.hpp"
#include "examples.hpp"

namespace tapegrad::nn {

/// The array of an IDX file (http://yann.lecun.com/exdb/mnist), plain or gzip. T is float, double or std::int64_t;
/// element types that fit it exactly are converted. Throws as read_npy.
template <class T>
TAPEGRAD_EXPORT Tensor<T> read_idx(const std::string& path, Caller where = Caller::here());

template <class T>
struct Mnist {
  Examples<T> train, test;  // images (n, rows, columns)
};

/// The data set in a folder: the four IDX files, plain or .gz, or mnist.npz as Keras keeps it, whose own path will do
/// as well. Images are divided by `divisor`. Throws Error, listing what was looked for, when the files are not there;
/// ShapeError when images and labels do not belong together; else as read_idx.
template <Real T>
TAPEGRAD_EXPORT Mnist<T> load_mnist(const std::string& path, double divisor = 1, Caller where = Caller::here());

}  // namespace tapegrad::nn
