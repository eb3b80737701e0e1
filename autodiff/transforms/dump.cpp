#include "../dump.hpp"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "../tape/primitive.hpp"

namespace tapegrad {
namespace detail {
namespace {

std::string type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "f32";
    case Dtype::f64:
      return "f64";
    case Dtype::i64:
      return "i64";
    case Dtype::boolean:
      return "bool";
    case Dtype::object:
      break;
  }
  return "function";
}

std::string operand(const Array& array, std::uint32_t record, const Segment& s) {
  if (record != no_record && record >= s.begin) return std::string("%").append(std::to_string(record - s.begin));
  if (array.dtype == Dtype::object) return "function";
  return (array.dtype == Dtype::i64 || array.dtype == Dtype::boolean ? type_of(array.dtype) : std::string("constant")) +
         " " + to_string(array.shape);
}

std::string place(const Caller& where) {
  const std::string text = to_string(where);  // " at file:line", or nothing
  return text.substr(std::min<std::size_t>(text.size(), 4));
}

}  // namespace

Dump dump_of(const Recording& recording, const Handle& result, const Caller& where) {
  require_value("dump", result, where);
  const Segment& s = recording.segment();
  Dump dump;
  for (std::uint32_t i = s.begin; i < s.end; ++i) {
    const Call call(s, i);
    const bool argument = i < s.begin + s.inputs;
    DumpedRecord line;
    line.operation = argument ? "argument" : call.primitive().name;
    if (!argument) {
      if (const auto describe = call.primitive().describe) line.attributes = describe(call.attributes());
      for (std::size_t k = 0; k < call.operand_count(); ++k) {
        line.operands.push_back(operand(call.operand_array(k), call.operands(k).record, s));
      }
      line.where = place(call.where());
    }
    line.type = type_of(call.output_array().dtype);
    line.shape = to_string(call.output_shape());
    dump.records.push_back(std::move(line));
  }
  const bool recorded = recording.depends_on_inputs(result);
  dump.result = operand(*result.array(), recorded ? result.place().record() : no_record, s);
  return dump;
}

}  // namespace detail

namespace {

// "multiply %0, constant (4, 3) [attributes]".
std::string call_of(const DumpedRecord& record) {
  std::string text = record.operation;
  for (std::size_t k = 0; k < record.operands.size(); ++k) text += (k == 0 ? " " : ", ") + record.operands[k];
  if (!record.attributes.empty()) text.append(" [").append(record.attributes).append("]");
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Dump& dump) {
  std::size_t widest_call = 0, widest_type = 0;
  const auto type_of = [](const DumpedRecord& record) { return record.type + " " + record.shape; };
  for (const DumpedRecord& record : dump.records) {
    widest_call = std::max(widest_call, call_of(record).size());
    widest_type = std::max(widest_type, type_of(record).size());
  }
  std::ostringstream text;
  const std::size_t digits = std::to_string(dump.records.size()).size();
  for (std::size_t i = 0; i < dump.records.size(); ++i) {
    const DumpedRecord& record = dump.records[i];
    text << std::setw(static_cast<int>(digits) + 1) << std::right << std::string("%").append(std::to_string(i)) << " = "
         << std::left << std::setw(static_cast<int>(widest_call)) << call_of(record) << "  "
         << std::setw(static_cast<int>(widest_type)) << type_of(record) << "  " << record.where << '\n';
  }
  return out << text.str() << "result " << dump.result << '\n';
}

std::string Dump::graphviz() const {
  std::ostringstream out;
  out << "digraph tape {\n  node [shape=box, fontname=\"sans-serif\"];\n";
  for (std::size_t i = 0; i < records.size(); ++i) {
    const DumpedRecord& record = records[i];
    std::string label = record.operation;
    if (!record.attributes.empty()) label.append(" [").append(record.attributes).append("]");
    label.append("\n").append(record.type).append(" ").append(record.shape);
    if (!record.where.empty()) label.append("\n").append(record.where);
    out << "  r" << i << " [label=" << quoted(label) << (record.operation == "argument" ? ", style=bold" : "")
        << "];\n";
    for (std::size_t k = 0; k < record.operands.size(); ++k) {
      const std::string& operand = record.operands[k];
      if (operand[0] == '%') {
        out << "  r" << operand.substr(1) << " -> r" << i << ";\n";
      } else {
        out << "  c" << i << '_' << k << " [label=" << quoted(operand) << ", style=dashed];\n  c" << i << '_' << k
            << " -> r" << i << ";\n";
      }
    }
  }
  if (result[0] == '%') out << "  result [shape=plaintext];\n  r" << result.substr(1) << " -> result;\n";
  out << "}\n";
  return out.str();
}

}  // namespace tapegrad
