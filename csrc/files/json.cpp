#include "files/json.h"

#include <charconv>
#include <cmath>
#include <stdexcept>

namespace gru {

namespace {

[[noreturn]] void refuse(const std::string& what, const char* expected) {
  throw std::invalid_argument(what + ": expected " + expected);
}

void append_utf8(std::string& to, uint32_t point) {
  const auto put = [&](uint32_t byte) { to.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xC0 | point >> 6);
  } else if (point < 0x10000) {
    put(0xE0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3F));
  } else {
    put(0xF0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3F));
    put(0x80 | (point >> 6 & 0x3F));
  }
  put(0x80 | (point & 0x3F));
}

}  // namespace

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json all() {
    Json value = next(0);
    space();
    if (at_ != text_.size()) wrong("nothing behind the value");
    return value;
  }

 private:
  static constexpr int deepest = 64;

  [[noreturn]] void wrong(const char* expected) const {
    refuse("JSON", (std::string(expected) + " at byte " + std::to_string(at_)).c_str());
  }

  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void need(std::string_view word, const char* expected) {
    space();
    if (!take(word)) wrong(expected);
  }

  Json next(int depth) {
    if (depth > deepest) wrong("less nesting");
    space();
    const size_t begin = at_;
    Json made;
    if (take("{"))
      made.value_ = members(depth);
    else if (take("["))
      made.value_ = elements(depth);
    else if (take("\""))
      made.value_ = string();
    else if (take("true"))
      made.value_ = true;
    else if (take("false"))
      made.value_ = false;
    else if (!take("null"))
      made.value_ = number();
    made.source_ = text_.substr(begin, at_ - begin);
    return made;
  }

  Json::Object members(int depth) {
    Json::Object made;
    space();
    if (take("}")) return made;
    do {
      need("\"", "a name");
      std::string name = string();
      need(":", "a colon");
      if (!made.emplace(std::move(name), next(depth + 1)).second) wrong("each name once");
      space();
    } while (take(","));
    need("}", "a comma or a closing brace");
    return made;
  }

  Json::Array elements(int depth) {
    Json::Array made;
    space();
    if (take("]")) return made;
    do {
      made.push_back(next(depth + 1));
      space();
    } while (take(","));
    need("]", "a comma or a closing bracket");
    return made;
  }

  std::string string() {
    std::string made;
    for (;;) {
      if (at_ == text_.size()) wrong("a closing quote");
      const char c = text_[at_++];
      if (c == '"') return made;
      if (static_cast<unsigned char>(c) < 0x20) wrong("no control character");
      c == '\\' ? escaped(made) : made.push_back(c);
    }
  }

  void escaped(std::string& to) {
    constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    if (const size_t place = names.find(c); place != std::string_view::npos) return to.push_back(meanings[place]);
    if (c != 'u') wrong("an escape");
    uint32_t point = hexadecimal();
    if (point >= 0xD800 && point < 0xDC00 && take("\\u")) {
      const uint32_t low = hexadecimal();
      if (low < 0xDC00 || low > 0xDFFF) wrong("the second half of a pair");
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    } else if (point >= 0xD800 && point <= 0xDFFF) {
      wrong("a whole pair");
    }
    append_utf8(to, point);
  }

  uint32_t hexadecimal() {
    uint32_t value = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4) wrong("four hexadecimal digits");
    at_ += 4;
    return value;
  }

  double number() {
    const size_t begin = at_;
    take("-");
    const size_t first = at_;
    digits();
    if (text_[first] == '0' && at_ > first + 1) wrong("no leading zero");
    if (take(".")) digits();
    if (take("e") || take("E")) {
      take("+") || take("-");
      digits();
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + begin, text_.data() + at_, value);
    if (error != std::errc() || end != text_.data() + at_) wrong("a number within bounds");
    return value;
  }

  void digits() {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == begin) wrong("a value");
  }

  const std::string_view text_;
  size_t at_ = 0;
};

Json Json::read(std::string_view text) { return JsonReader(text).all(); }

bool Json::flag(const std::string& what) const {
  if (const auto* value = std::get_if<bool>(&value_)) return *value;
  refuse(what, "true or false");
}

double Json::number(const std::string& what) const {
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  refuse(what, "a number");
}

size_t Json::whole(const std::string& what) const {
  constexpr double most = 9007199254740992;  // up to which a double is exact
  const double value = number(what);
  if (!(value >= 0 && value <= most && value == std::floor(value))) refuse(what, "a whole number");
  return static_cast<size_t>(value);
}

const std::string& Json::text(const std::string& what) const {
  if (const auto* value = std::get_if<std::string>(&value_)) return *value;
  refuse(what, "a string");
}

const Json::Array& Json::array(const std::string& what) const {
  if (const auto* value = std::get_if<Array>(&value_)) return *value;
  refuse(what, "an array");
}

const Json::Object& Json::object(const std::string& what) const {
  if (const auto* value = std::get_if<Object>(&value_)) return *value;
  refuse(what, "an object");
}

}  // namespace gru
